"""Where a turn begins with a run that does not count, and where sampling ends."""

from __future__ import annotations

import pytest

from srdeploy.measure.timing import take_samples, take_turn, time_run, wall_clock


class Work:
    """Runs of so many milliseconds, by a clock that only they move."""

    def __init__(self, ms: float) -> None:
        self.ms, self.now, self.calls = ms, 5.0, 0

    def __call__(self) -> float:
        return self.now

    def run(self) -> None:
        self.calls += 1
        self.now += self.ms / 1e3


@pytest.mark.parametrize(("expected", "calls"), [(99.9, 3), (100.0, 2), (100.1, 2)])
def test_runs_below_a_tenth_of_a_second_settle(expected: float, calls: int) -> None:
    work = Work(250)
    samples = take_turn(work.run, seconds=0.5, expected_ms=expected, clock=work)
    assert (len(samples), work.calls) == (2, calls)


def test_exactly_enough_is_enough() -> None:
    work = Work(125)  # binary fractions: no rounding
    assert take_samples(work.run, min_runs=1, min_seconds=0.5, clock=work) == [125.0] * 4
    assert len(take_samples(work.run, min_runs=4, min_seconds=0.5, clock=work)) == 4
    assert len(take_samples(work.run, min_runs=5, min_seconds=0.5, clock=work)) == 5


def test_the_clock_is_in_seconds_and_goes_on() -> None:
    before = wall_clock()
    spent = time_run(lambda: sum(range(20000)))
    assert 0 < spent <= (wall_clock() - before) * 1e3
