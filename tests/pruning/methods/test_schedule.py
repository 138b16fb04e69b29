from __future__ import annotations

import pytest

from srdeploy.pruning.methods.schedule import Ramp


def test_grows_every_so_many_iterations_up_to_the_limit() -> None:
    ramp = Ramp(growth=0.1, every=3, limit=0.25, hold=5)
    assert [round(ramp.penalty(i), 3) for i in range(10)] == [
        0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.25, 0.25, 0.25, 0.25,
    ]  # fmt: skip
    assert (ramp.steps, ramp.full, ramp.total) == (3, 9, 14)


def test_published_schedule_takes_the_published_time() -> None:
    ramp = Ramp(growth=1e-4, every=20, limit=0.5, hold=43150)
    assert ramp.full == 100_000
    assert ramp.total == 143_150
    assert ramp.penalty(99_999) == pytest.approx(0.5)


def test_waits_until_its_start() -> None:
    ramp = Ramp(growth=0.5, every=2, limit=1.0, hold=1, start=4)
    assert [ramp.penalty(i) for i in (3, 4, 6, 100)] == [0.0, 0.5, 1.0, 1.0]
    assert ramp.total == 9
    assert [ramp.phase(i) for i in (0, 4, 7, 8)] == ["waiting", "growing", "growing", "holding"]


def test_a_step_larger_than_the_limit_takes_one_step() -> None:
    ramp = Ramp(growth=2.0, every=7, limit=1.0, hold=0)
    assert ramp.penalty(0) == 1.0
    assert ramp.total == 7


def test_a_geometric_ramp_multiplies_from_its_first_penalty_to_the_limit() -> None:
    ramp = Ramp(growth=1.0, every=2, limit=10.0, hold=3, start=1, first=1.0)
    assert [ramp.penalty(i) for i in range(12)] == [0, 1, 1, 2, 2, 4, 4, 8, 8, 10, 10, 10]
    assert (ramp.steps, ramp.full, ramp.total) == (5, 11, 14)
    assert ramp.penalty(10**9) == 10.0


def test_a_geometric_ramp_that_starts_at_its_limit_takes_one_step() -> None:
    ramp = Ramp(growth=0.1, every=4, limit=0.5, hold=0, first=0.5)
    assert (ramp.penalty(0), ramp.total) == (0.5, 4)


def test_the_studys_ramp() -> None:
    ramp = Ramp(growth=0.1, every=10, limit=250.0, hold=150, first=0.05)
    assert (ramp.steps, ramp.full, ramp.total) == (91, 910, 1060)  # 0.05 x 1.1^90 > 250
    assert ramp.penalty(0) == 0.05
    assert ramp.penalty(899) == pytest.approx(0.05 * 1.1**89)
    assert ramp.penalty(899) < 250.0
    assert ramp.penalty(900) == 250.0
