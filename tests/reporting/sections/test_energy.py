"""Energy per image, and power over time."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.measure.measurement import Power
from srdeploy.reporting.sections import energy
from tests.golden import by_tags, same_as
from tests.reporting.material import data_of, entries, lasting, measured, reading

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_whole_section() -> None:
    same_as(GOLDEN / "energy.html", by_tags(energy.energy(data_of(*measured())) or ""))


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
    assert energy._watts(entry) == [(0, 3.0), (3, 4.0)]
    (entry,) = entries(lasting(1, power=power.model_copy(update={"rails": ()}), readings=readings))
    assert energy._watts(entry) == [(0, 53.0), (1, 1.5), (3, 4.0)]


@pytest.mark.parametrize(("count", "drawn"), [(0, False), (1, False), (2, True)])
def test_two_readings_are_a_curve(count: int, drawn: bool) -> None:
    power = Power(mean_w=7, peak_w=8, energy_j_per_frame=0.3, rails=(), source="all",
                  readings=count)  # fmt: skip
    readings = [reading(n, power_w={"a": 1.0}, temperatures_c={"a": 40.0}) for n in range(count)]
    page = energy.energy(data_of(lasting(31, power=power, readings=readings))) or ""
    assert ("power, W" in page) is drawn
    assert "300 mJ <small>7.00 W</small>" in page
