from __future__ import annotations

import pytest

from srdeploy.measure.timing import take_samples, take_turn, time_run


class FakeClock:
    """Moves only when somebody works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Job:
    """Takes the given milliseconds, one after another, the last for ever."""

    def __init__(self, clock: FakeClock, *milliseconds: float) -> None:
        self.clock, self.left, self.calls = clock, list(milliseconds), 0

    def __call__(self) -> None:
        self.calls += 1
        self.clock.now += (self.left.pop(0) if len(self.left) > 1 else self.left[0]) / 1e3


def test_time_run_is_in_milliseconds() -> None:
    clock = FakeClock()
    assert time_run(Job(clock, 12.5), clock) == pytest.approx(12.5)


def test_at_least_so_many_runs() -> None:
    clock = FakeClock()
    samples = take_samples(Job(clock, 100), min_runs=7, min_seconds=0.2, clock=clock)
    assert samples == pytest.approx([100] * 7)


def test_and_at_least_so_many_seconds() -> None:
    clock = FakeClock()
    samples = take_samples(Job(clock, 10), min_runs=3, min_seconds=0.095, clock=clock)
    assert len(samples) == 10


def test_samples_stay_raw_and_in_order() -> None:
    clock = FakeClock()
    samples = take_samples(Job(clock, 5, 50, 5, 1), min_runs=4, min_seconds=0, clock=clock)
    assert samples == pytest.approx([5, 50, 5, 1])


def test_nothing_asked_nothing_run() -> None:
    clock = FakeClock()
    job = Job(clock, 1)
    assert take_samples(job, min_runs=0, min_seconds=0, clock=clock) == []
    assert job.calls == 0


def test_short_runs_settle_before_a_turn() -> None:
    clock = FakeClock()
    job = Job(clock, 80, 10)  # the first is slow: caches are cold
    assert take_turn(job, seconds=0.03, expected_ms=10, clock=clock) == pytest.approx([10] * 3)
    assert job.calls == 4


def test_long_runs_do_not_settle_and_give_one_sample_at_least() -> None:
    clock = FakeClock()
    job = Job(clock, 700)
    assert take_turn(job, seconds=0.5, expected_ms=700, clock=clock) == pytest.approx([700])
    assert job.calls == 1
