"""Which readings count, and the units of what comes of them."""

from __future__ import annotations

from srdeploy.benchmarking.measuring.power import busy, power_of, within
from srdeploy.measure.measurement import Reading


def at(seconds: float, load: float | None = None, **rails: float) -> Reading:
    loads = {} if load is None else {"gpu": load, "cpu": 100.0}
    return Reading(seconds=seconds, power_w=rails, load_percent=loads)


def test_windows_hold_their_ends() -> None:
    readings = [at(s) for s in (0.9, 1.0, 1.5, 2.0, 2.1, 4.0)]
    assert [one.seconds for one in within(readings, [(1.0, 2.0), (4.0, 4.0)])] == [1, 1.5, 2, 4]
    assert within(readings, []) == []


def test_half_the_highest_load_is_work() -> None:
    readings = [at(0, 39.9), at(1, 40.0), at(2, 80.0), at(3)]
    assert [one.seconds for one in busy(readings)] == [1, 2]
    assert [one.seconds for one in busy([at(0), at(1)])] == [0, 1]  # no load is told
    assert busy([]) == []


def test_watts_and_joules_are_rounded_and_shared() -> None:
    readings = [at(0, a=1.00006, b=2.0), at(1, a=3.0, b=4.00004), at(2, a=9.0), at(3, c=9.0)]
    power = power_of(readings, ("a", "b"), [100.0, 300.0], batch=4)
    assert power is not None
    assert (power.mean_w, power.peak_w, power.readings) == (5.0, 7.0, 2)
    assert power.energy_j_per_frame == 0.250003  # 5 W for 0.2 s, 4 images
    assert power.rails == ("a", "b")
    assert power.source == "the device's own a + b, idling included"
    alone = power_of(readings, ("a", "b"), [100.0, 300.0])
    assert alone is not None
    assert alone.energy_j_per_frame == 1.00001
