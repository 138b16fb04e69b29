"""Intervals taken apart: what is drawn, by how much it is widened, and where its ends are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from srdeploy.benchmarking.measuring import stats
from srdeploy.benchmarking.measuring.stats import (
    Latency,
    Ratio,
    _draws,
    _estimate,
    _log_median,
    _ratio,
    paired_ratio,
    rounds_of,
    t_quantile,
    unpaired_ratio,
)
from tests.benchmarking.material import measured

Z = 1.959964


@pytest.mark.parametrize(
    ("freedom", "exact"),
    [(2, 4.302653), (3, 3.182446), (4, 2.776445), (5, 2.570582), (6, 2.446912), (8, 2.306004),
     (10, 2.228139), (20, 2.085963), (30, 2.042272), (100, 1.983972)],
)  # fmt: skip
def test_students_quantile(freedom: int, exact: float) -> None:
    """What the expansion leaves out is of the fourth order."""
    left_out = 0 if freedom == 2 else 0.9 / freedom**4
    assert t_quantile(freedom) == pytest.approx(exact, rel=max(left_out, 1e-6))


def test_rounds_of_one_run_are_drawn_and_widened() -> None:
    """The median of five values is one of them; what is drawn is that, moved from the centre."""
    run = np.array([0.1, 0.2, 0.4, 0.7, 1.1])
    widening = math.sqrt(5 / 4) * t_quantile(4) / Z
    drawn = 0.4 + (_draws([run], seed=0) - 0.4) / widening
    nearest = run[np.abs(drawn[:, None] - run).argmin(axis=1)]
    np.testing.assert_allclose(drawn, nearest, atol=1e-9)
    shares = [float(np.isclose(drawn, value).mean()) for value in run]
    assert shares == pytest.approx([0.058, 0.259, 0.366, 0.259, 0.058], abs=0.04)
    assert len(drawn) == 2000


def test_runs_are_drawn_before_their_rounds() -> None:
    runs = [np.array([float(level)] * 9) for level in (0, 3, 9)]
    widening = math.sqrt(3 / 2) * t_quantile(2) / Z
    drawn = 4 + (_draws(runs, seed=0) - 4) / widening
    sums = {(a + b + c) / 3 for a in (0, 3, 9) for b in (0, 3, 9) for c in (0, 3, 9)}
    assert all(min(abs(value - one) for one in sums) < 1e-9 for value in drawn)
    assert float(drawn.mean()) == pytest.approx(4, abs=0.2)
    assert float(np.isclose(drawn, 9).mean()) == pytest.approx(1 / 27, abs=0.02)


@pytest.mark.parametrize(
    ("runs", "told"),
    [([2], False), ([3], True), ([9, 9], False), ([1, 1, 1], True), ([50, 50], False)],
)
def test_three_are_the_fewest(runs: list[int], told: bool) -> None:
    drawn = _draws([np.arange(float(size)) for size in runs], seed=0)
    assert bool(np.isfinite(drawn).all()) is told
    assert len(drawn) == stats.RESAMPLES


def test_an_estimate_is_the_mean_of_medians() -> None:
    assert _estimate([np.array([1.0, 2.0, 9.0]), np.array([4.0])]) == 3
    assert _log_median([1.0, math.e, 9.0]) == pytest.approx(1)
    assert _log_median([0.0]) == math.log(1e-6)


def test_an_interval_leaves_a_fortieth_on_each_side() -> None:
    found = _ratio(math.log(2), np.log(np.linspace(1, 3, 4001)))
    assert found.value == pytest.approx(2)
    assert found.low == pytest.approx(1.05, abs=1e-3)
    assert found.high == pytest.approx(2.95, abs=1e-3)
    assert _ratio(math.log(2), np.array([0.0, np.nan])) == Ratio(pytest.approx(2), None, None)  # type: ignore[arg-type]


def test_several_sessions_have_their_geometric_mean() -> None:
    def session(factor: float) -> tuple[list[list[float]], list[list[float]]]:
        return [[10.0], [20.0], [30.0]], [[10.0 * factor], [20.0 * factor], [30.0 * factor]]

    found = paired_ratio([session(2.0), session(8.0), ([[1.0]], [])])
    assert found is not None
    assert (found.value, found.low) == (pytest.approx(4), None)  # two runs tell no spread
    three = paired_ratio([session(2.0), session(8.0), session(4.0)])
    assert three is not None
    assert three.low is not None
    assert three.high is not None
    assert three.low < 4 < three.high
    assert paired_ratio([]) is None
    assert paired_ratio([([[1.0]], [])]) is None


def test_apart_the_second_is_over_the_first() -> None:
    found = unpaired_ratio([[[10.0]] * 4], [[[25.0]] * 4])
    assert found == Ratio(pytest.approx(2.5), pytest.approx(2.5), pytest.approx(2.5))  # type: ignore[arg-type]
    assert unpaired_ratio([[]], [[[1.0]]]) is None
    assert unpaired_ratio([[[1.0]]], [[], []]) is None
    assert unpaired_ratio([], [[[1.0]]]) is None


def test_both_sides_are_drawn_on_their_own() -> None:
    """Equal rounds on both sides: drawn alike, their ratio would not spread at all."""
    rounds = [[1.0], [2.0], [3.0], [4.0], [5.0]]
    found = unpaired_ratio([rounds], [rounds])
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.6 < 1.6 < found.high


def test_ratios_in_four_digits_and_the_other_way_round() -> None:
    ratio = Ratio(2.00004, 1.23456, None)
    assert ratio.rounded() == (2.0, 1.2346, None)
    assert Ratio(4.0, 2.0, 8.0).inverse() == Ratio(0.25, 0.125, 0.5)


def test_latency_is_rounded_to_a_tenth_of_a_microsecond() -> None:
    found = Latency.of([1.00004, 2.00006, 3.0])
    assert (found.p50_ms, found.min_ms) == (2.0001, 1.0)
    assert found.mean_ms == 2.0
    assert found.iqr_ms == 1.0


@pytest.mark.parametrize(("count", "lengths"), [(1, [1]), (3, [1] * 3), (4, [2, 2]), (8, [2] * 4),
                                                (9, [3] * 3), (11, [3] * 3)])  # fmt: skip
def test_one_turn_is_cut_into_blocks_of_its_root(count: int, lengths: list[int]) -> None:
    samples = [float(n) for n in range(count)]
    blocks = rounds_of(measured(samples, [count]))
    assert [len(block) for block in blocks] == lengths
    assert [sample for block in blocks for sample in block] == samples[: sum(lengths)]
    assert rounds_of(measured([1.0, 2.0], [1, 1])) == [[1.0], [2.0]]
