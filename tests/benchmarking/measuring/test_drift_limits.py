"""Which turns are the beginning and the end of a run, and how long it must be."""

from __future__ import annotations

import pytest

from srdeploy.benchmarking.measuring.row import Drift, drift_of
from tests.benchmarking.material import measured


def drift(samples: list[float], turns: list[int] | None = None) -> float | None:
    return drift_of(measured(samples, turns)).drift


def test_a_minute_is_needed() -> None:
    steady = [1000.0] * 30 + [1000.0] * 30
    assert drift(steady) == pytest.approx(1)
    assert drift([999.9, *steady[1:]]) is None
    assert drift_of(measured([999.9, *steady[1:]])) == Drift(None, None, None)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        # 100 s in turns of a second: ten turns are the first tenth, ten the last.
        ([1000.0] * 10 + [1200.0] * 80 + [2000.0] * 10, 2.0),
        ([1000.0] * 9 + [5000.0] * 80 + [2000.0] * 9, 2.0),
        ([2000.0] * 5 + [1000.0] * 90 + [1500.0] * 5, None),
    ],
)
def test_the_first_and_the_last_tenth_of_the_time(
    samples: list[float], expected: float | None
) -> None:
    found = drift(samples)
    if expected is not None:
        assert found == pytest.approx(expected, rel=0.01)
    else:
        assert found is not None
        assert 0.5 < found < 1


QUICK, SLOW = [1000.0] * 8, [2000.0, 2000.0]  # 8 s, 4 s
BETWEEN, END = [1000.0] * 39, [1000.0] * 10


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([QUICK, SLOW, BETWEEN, BETWEEN, END], 2**-0.5),
        ([QUICK, [*SLOW, 0.1], BETWEEN, BETWEEN, END], 1.0),
        ([END, BETWEEN, BETWEEN, SLOW, QUICK], 2**0.5),
        ([END, BETWEEN, BETWEEN, [*SLOW, 0.1], QUICK], 1.0),
    ],
)
def test_a_turns_middle_decides(turns: list[list[float]], expected: float) -> None:
    """A turn whose middle lies 10 s from an end of 100 s is part of it, one further in is not."""
    samples = [sample for turn in turns for sample in turn]
    found = drift_of(measured(samples, [len(turn) for turn in turns]))
    assert found.drift == pytest.approx(expected, abs=1e-3)


def test_without_an_end_there_is_no_drift() -> None:
    assert drift([30_000.0, 30_000.0, 30_000.0]) is None
    assert drift([5_000.0, 90_000.0]) is None  # no turn whose middle is late enough
    assert drift([90_000.0, 5_000.0]) is None


def test_one_turn_is_cut_into_blocks() -> None:
    found = drift_of(measured([1000.0] * 50 + [1500.0] * 50, [100]))
    assert found.drift == pytest.approx(1.5)
    assert found.as_dict() == {"drift": 1.5, "drift_low": None, "drift_high": None}
