"""How far a measurement is, and when it will never be over."""

from __future__ import annotations

import pytest

from srdeploy.benchmarking.measuring.interleave import Series, interleave, most_turns, progress
from srdeploy.devices.errors import DeviceError
from srdeploy.measure.scenario import Scenario


def scenario(runs: int, seconds: float, most: float | None = None, turn: float = 0.5) -> Scenario:
    return Scenario(min_runs=runs, min_seconds=seconds, max_seconds=most, turn_seconds=turn)


@pytest.mark.parametrize(
    ("asked", "runs", "seconds", "share"),
    [
        (scenario(10, 4), 5, 4.0, 0.5),  # the slower of the two counts
        (scenario(10, 4), 10, 1.0, 0.25),
        (scenario(10, 4), 10, 4.0, 1.0),
        (scenario(10, 4), 90, 90.0, 1.0),
        (scenario(10, 0), 3, 0.0, 0.3),
        (scenario(100, 4, most=8), 10, 6.0, 0.75),  # time may be up first
        (scenario(100, 4, most=8), 10, 8.0, 1.0),
        (scenario(100, 4, most=8), 90, 0.8, 0.2),
        (scenario(10, 4), 0, 0.0, 0.0),
    ],
)
def test_progress(asked: Scenario, runs: int, seconds: float, share: float) -> None:
    assert progress(asked, runs, seconds) == pytest.approx(share)


def test_enough_is_enough() -> None:
    series = Series([[500.0, 500.0], [500.0]])
    assert series.samples == [500, 500, 500]
    assert series.satisfies(scenario(3, 1.5))
    assert not series.satisfies(scenario(4, 1.5))
    assert not series.satisfies(scenario(3, 1.6))
    assert series.satisfies(scenario(1000, 60, most=1.5))
    assert not series.satisfies(scenario(1000, 60, most=1.6))


@pytest.mark.parametrize(
    ("asked", "turns"),
    [
        (scenario(20, 5), 20 + 100 * 11),
        (scenario(20, 5, most=2), 20 + 100 * 5),
        (scenario(20, 5, most=9), 20 + 100 * 11),
        (scenario(3, 0), 3 + 100),
        (scenario(3, 0.01, turn=0), 3 + 100 * 11),  # runs of a millisecond at least
        (scenario(3, 0.3, turn=0.1), 3 + 100 * 4),
    ],
)
def test_turns_that_should_be_enough(asked: Scenario, turns: int) -> None:
    assert most_turns(asked) == turns


class Quick:
    """Its runs take no time to speak of."""

    def turn(self, seconds: float) -> list[float]:
        return [0.5]


def test_one_that_never_gets_there_says_how_far_it_came() -> None:
    asked = scenario(2, 10, turn=10)
    (series,) = interleave({"a": Quick()}, asked, sleep=lambda seconds: None).values()
    assert isinstance(series.failure, DeviceError)
    assert len(series.rounds) == most_turns(asked) + 2
    assert str(series.failure) == (
        f"{most_turns(asked) + 2} turns hold only 0.102 s of runs; its times cannot be right."
    )


def test_one_that_runs_alone_never_rests() -> None:
    rests: list[float] = []
    interleave({"a": Quick()}, scenario(2, 0), sleep=rests.append)
    assert rests == [0, 0]
    assert interleave({}, scenario(2, 0), sleep=rests.append) == {}
