"""The sections on measurements, word for word and figure for figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.bench.row import row_of
from srdeploy.bench.verdict import Limits, judge
from srdeploy.measure.measurement import Measurement, Power, Reading
from srdeploy.report import sections
from srdeploy.report.figures import Group, groups_of
from srdeploy.report.sources import Entry, Evidence
from tests.golden import by_tags, same_as
from tests.report.material import measurement, measurements

GOLDEN = Path(__file__).parent / "golden"
BICUBIC = 32.6


def entries(*found: Measurement) -> list[Entry]:
    """With speed-ups to the first of each session."""
    first: dict[str | None, Measurement] = {}
    return [
        Entry(row_of(one, first.setdefault(one.session, one)), one, Path("here")) for one in found
    ]


def with_bicubic(one: Measurement) -> Measurement:
    if one.quality is None:
        return one
    quality = one.quality.model_copy(update={"bicubic": BICUBIC})
    return one.model_copy(update={"quality": quality})


@pytest.fixture(scope="module")
def found() -> list[Measurement]:
    silent = measurement("silent.mlpackage", 1.0, None, 1e9, samples_ms=[], turns=[])
    return [*map(with_bicubic, measurements()), silent]


@pytest.fixture(scope="module")
def groups(found: list[Measurement]) -> list[Group]:
    return groups_of(Evidence(entries(*found)))


@pytest.mark.parametrize("name", ["plots", "results", "load", "energy"])
def test_sections_of_groups(groups: list[Group], name: str) -> None:
    same_as(GOLDEN / f"{name}.html", by_tags(getattr(sections, name)(groups)))


def test_failures(found: list[Measurement]) -> None:
    same_as(GOLDEN / "failures.html", by_tags(sections.failures(entries(*found))))
    assert sections.failures(entries(found[0])) == ""


def test_baseline(found: list[Measurement]) -> None:
    now = [
        one.model_copy(update={"samples_ms": [ms * k for ms in one.samples_ms], "session": f"{n}"})
        for n, (one, k) in enumerate(zip(found[:4], (1.3, 1.0, 0.9, 1.06), strict=True))
    ]
    verdict = judge(found[:5], now, Limits(0.05, 0.05))
    same_as(GOLDEN / "baseline.html", by_tags(sections.baseline(verdict)))


def lasting(seconds: float, **changes: object) -> Measurement:
    samples = [100.0] * round(10 * seconds)
    return measurement(
        "net.onnx", 100, 33.0, 1e9, **{"samples_ms": samples, "turns": [len(samples)], **changes}
    )


@pytest.mark.parametrize(("seconds", "shown"), [(29.9, False), (30.0, True), (31.0, True)])
def test_half_a_minute_is_lasting_load(seconds: float, shown: bool) -> None:
    page = sections.load(groups_of(Evidence(entries(lasting(seconds)))))
    assert ("latency, ms" in page) is shown


def test_one_sample_is_no_curve() -> None:
    one = lasting(1, samples_ms=[60_000.0], turns=[1])
    assert sections.load(groups_of(Evidence(entries(one)))) == ""


@pytest.mark.parametrize("count", [120, 121, 240, 1000])
def test_a_curve_has_medians_of_equal_parts(count: int) -> None:
    samples = [float(n % 7 + 1) for n in range(count)]
    (entry,) = entries(lasting(1, samples_ms=samples, turns=[count]))
    points = sections._over_time(entry)
    assert len(points) <= 120
    size = -(-count // 120)
    assert len(points) == -(-count // size)
    seconds, height = points[0]
    assert seconds == pytest.approx(sum(samples[:size]) / 2 / 1e3)
    assert height == sorted(samples[:size])[size // 2] or size % 2 == 0
    last = len(samples[(len(points) - 1) * size :])
    assert points[-1][0] == pytest.approx((sum(samples) - sum(samples[-last:]) / 2) / 1e3)


def reading(seconds: float, **sensors: dict[str, float]) -> Reading:
    return Reading(**{"seconds": seconds, "power_w": {}, "temperatures_c": {}, **sensors})


def test_watts_are_those_of_the_rails_that_were_summed() -> None:
    power = Power(mean_w=7, peak_w=8, energy_j_per_frame=0.3, rails=("a", "b"), source="both",
                  readings=4)  # fmt: skip
    readings = [
        reading(0, power_w={"a": 1.0, "b": 2.0, "else": 50.0}),
        reading(1, power_w={"a": 1.5}),
        reading(2),
        reading(3, power_w={"a": 2.0, "b": 2.0}),
    ]
    (entry,) = entries(lasting(1, power=power, readings=readings))
    assert sections._watts(entry) == [(0, 3.0), (3, 4.0)]
    (entry,) = entries(lasting(1, power=power.model_copy(update={"rails": ()}), readings=readings))
    assert sections._watts(entry) == [(0, 53.0), (1, 1.5), (3, 4.0)]


@pytest.mark.parametrize(("count", "drawn"), [(0, False), (1, False), (2, True)])
def test_two_readings_are_a_curve(count: int, drawn: bool) -> None:
    power = Power(mean_w=7, peak_w=8, energy_j_per_frame=0.3, rails=(), source="all",
                  readings=count)  # fmt: skip
    readings = [reading(n, power_w={"a": 1.0}, temperatures_c={"a": 40.0}) for n in range(count)]
    groups = groups_of(Evidence(entries(lasting(31, power=power, readings=readings))))
    assert ("power, W" in sections.energy(groups)) is drawn
    assert ("300 mJ <small>7.00 W</small>" in sections.energy(groups)) is True
    assert ("hottest sensor" in sections.load(groups)) is drawn


def test_of_each_reading_the_hottest_sensor_counts() -> None:
    readings = [reading(0, temperatures_c={"a": 40.0, "b": 61.5}), reading(1)]
    readings.append(reading(2, temperatures_c={"a": 62.0, "b": 61.5}))
    (entry,) = entries(lasting(1, readings=readings))
    assert sections._hottest(entry) == [(0, 61.5), (2, 62.0)]


def test_drift_is_told_with_its_interval_where_there_is_one() -> None:
    row = entries(lasting(1))[0].row
    plain = row.model_copy(update={"drift": 1.314})
    told = "net.onnx: 1.31 times as long at the end as at the beginning"
    assert sections._drifted(plain) == told
    row = plain.model_copy(update={"drift_low": 1.204, "drift_high": 1.416})
    assert sections._drifted(row) == (
        "net.onnx: 1.31 times as long in the last tenth as in the first "
        "(95 % interval 1.20 to 1.42)"
    )


@pytest.mark.parametrize(
    ("figures", "told"),
    [
        ({}, "–"),
        ({"speedup": 1.256}, "1.26×"),
        ({"speedup": 1.256, "speedup_low": 1.2, "speedup_high": 1.3},
         "1.26× <small>1.20–1.30</small>"),
        ({"speedup": 1.006, "speedup_low": 0.9, "speedup_high": 1.1},
         "<small>no difference</small> <small>0.90–1.10</small>"),
    ],
)  # fmt: skip
def test_speedup(figures: dict[str, float], told: str) -> None:
    unset = dict.fromkeys(("speedup", "speedup_low", "speedup_high"))
    row = entries(lasting(1))[0].row.model_copy(update={**unset, **figures})
    assert sections.speedup(row) == told


def test_turns_are_counted() -> None:
    (entry,) = entries(measurement("a.onnx", 5, None, 1e9))
    assert sections.rounds(entry) == 6


@pytest.mark.parametrize("missing", [None, float("inf"), float("nan")])
def test_what_has_no_place_on_the_axis_is_not_drawn(missing: float | None) -> None:
    assert not sections._on_axis(missing)
    assert sections._on_axis(0.0)
