from __future__ import annotations

import pytest

from srdeploy.benchmarking.measuring.power import power_of, within
from srdeploy.measure.measurement import Reading


def reading(seconds: float, **rails: float) -> Reading:
    return Reading(seconds=seconds, power_w=rails)


def test_only_readings_of_ones_own_turns_count() -> None:
    """Two artifacts take turns of a second; the second draws 20 W."""
    readings = [reading(t / 10, cpu=5.0 if int(t / 10) % 2 == 0 else 20.0) for t in range(40)]
    first = within(readings, [(0.0, 0.95), (2.0, 2.95)])
    second = within(readings, [(1.0, 1.95), (3.0, 3.95)])
    assert len(first) == len(second) == 20
    one, two = (power_of(part, ("cpu",), [100.0] * 20) for part in (first, second))
    assert one is not None
    assert two is not None
    assert (one.mean_w, two.mean_w, two.peak_w) == (5, 20, 20)
    assert two.energy_j_per_frame == pytest.approx(2.0)
    assert two.readings == 20


def test_rails_are_summed_and_images_shared() -> None:
    power = power_of([reading(0, a=2, b=3), reading(1, a=4, b=5)], ("a", "b"), [200.0], batch=2)
    assert power is not None
    assert (power.mean_w, power.peak_w) == (7, 9)
    assert power.energy_j_per_frame == pytest.approx(0.7)
    assert "a + b" in power.source


def test_what_is_not_told() -> None:
    assert power_of([reading(0, a=2)], (), [1.0]) is None
    assert power_of([reading(0, a=2)], ("a", "b"), [1.0]) is None  # a part of the total is none
    assert power_of([], ("a",), [1.0]) is None
    assert power_of([reading(0, a=2)], ("a",), []) is None


def test_loading_an_engine_is_not_running_it() -> None:
    readings = [
        Reading(seconds=n, power_w={"VDD_IN": 4.0}, load_percent={"gpu": 0}) for n in range(8)
    ]
    readings += [
        Reading(seconds=9 + n, power_w={"VDD_IN": 15.0}, load_percent={"gpu": 97}) for n in range(2)
    ]
    power = power_of(readings, ("VDD_IN",), [20.0] * 100)
    assert power is not None
    assert (power.mean_w, power.readings) == (15, 2)
    assert power.energy_j_per_frame == pytest.approx(0.3)


def test_without_a_gpu_at_work_all_readings_count() -> None:
    idle = [Reading(seconds=n, power_w={"a": 3.0}, load_percent={"gpu": 0}) for n in range(4)]
    power = power_of(idle, ("a",), [1.0])
    assert power is not None
    assert power.readings == 4
