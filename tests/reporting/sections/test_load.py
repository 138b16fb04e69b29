"""Latency and temperature under lasting load."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.measure.measurement import Power
from srdeploy.reporting.sections import load
from tests.golden import by_tags, same_as
from tests.reporting.material import data_of, entries, lasting, measured, reading

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_whole_section() -> None:
    same_as(GOLDEN / "load.html", by_tags(load.load(data_of(*measured())) or ""))


@pytest.mark.parametrize(("seconds", "shown"), [(29.9, False), (30.0, True), (31.0, True)])
def test_half_a_minute_is_lasting_load(seconds: float, shown: bool) -> None:
    page = load.load(data_of(lasting(seconds))) or ""
    assert ("latency, ms" in page) is shown


def test_one_sample_is_no_curve() -> None:
    one = lasting(1, samples_ms=[60_000.0], turns=[1])
    assert load.load(data_of(one)) is None


@pytest.mark.parametrize("count", [120, 121, 240, 1000])
def test_a_curve_has_medians_of_equal_parts(count: int) -> None:
    samples = [float(n % 7 + 1) for n in range(count)]
    (entry,) = entries(lasting(1, samples_ms=samples, turns=[count]))
    points = load._over_time(entry)
    assert len(points) <= 120
    size = -(-count // 120)
    assert len(points) == -(-count // size)
    seconds, height = points[0]
    assert seconds == pytest.approx(sum(samples[:size]) / 2 / 1e3)
    assert height == sorted(samples[:size])[size // 2] or size % 2 == 0
    last = len(samples[(len(points) - 1) * size :])
    assert points[-1][0] == pytest.approx((sum(samples) - sum(samples[-last:]) / 2) / 1e3)


@pytest.mark.parametrize(("count", "drawn"), [(0, False), (1, False), (2, True)])
def test_two_readings_are_a_curve(count: int, drawn: bool) -> None:
    power = Power(mean_w=7, peak_w=8, energy_j_per_frame=0.3, rails=(), source="all",
                  readings=count)  # fmt: skip
    readings = [reading(n, power_w={"a": 1.0}, temperatures_c={"a": 40.0}) for n in range(count)]
    page = load.load(data_of(lasting(31, power=power, readings=readings))) or ""
    assert ("hottest sensor" in page) is drawn


def test_of_each_reading_the_hottest_sensor_counts() -> None:
    readings = [reading(0, temperatures_c={"a": 40.0, "b": 61.5}), reading(1)]
    readings.append(reading(2, temperatures_c={"a": 62.0, "b": 61.5}))
    (entry,) = entries(lasting(1, readings=readings))
    assert load._hottest(entry) == [(0, 61.5), (2, 62.0)]


def test_drift_is_told_with_its_interval_where_there_is_one() -> None:
    row = entries(lasting(1))[0].row
    plain = row.model_copy(update={"drift": 1.314})
    told = "net.onnx: 1.31 times as long at the end as at the beginning"
    assert load._drifted(plain) == told
    row = plain.model_copy(update={"drift_low": 1.204, "drift_high": 1.416})
    assert load._drifted(row) == (
        "net.onnx: 1.31 times as long in the last tenth as in the first "
        "(95 % interval 1.20 to 1.42)"
    )
