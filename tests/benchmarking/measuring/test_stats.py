from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from srdeploy.benchmarking.measuring import stats
from srdeploy.benchmarking.measuring.stats import (
    Latency,
    Ratio,
    paired_ratio,
    paired_speedup,
    rounds_of,
    t_quantile,
    turns_of,
    unpaired_ratio,
)
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.scenario import Scenario


def test_percentiles() -> None:
    latency = Latency.of(list(range(1, 102)))
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms) == (51, 91, 100)
    assert (latency.mean_ms, latency.min_ms, latency.iqr_ms) == (51, 1, 50)


def test_one_sample() -> None:
    assert Latency.of([3.0]).as_dict() == {
        "p50_ms": 3, "p90_ms": 3, "p99_ms": 3, "mean_ms": 3, "min_ms": 3, "iqr_ms": 0,
    }  # fmt: skip


def test_pairing_cancels_what_slows_both() -> None:
    """The machine gets four times slower half-way: each round still says 3."""
    pace = [1.0] * 5 + [4.0] * 5
    base = [[30 * p, 31 * p, 29 * p] for p in pace]
    other = [[10 * p, 10 * p] for p in pace]
    ratio = paired_speedup(base, other)
    assert ratio is not None
    assert ratio.rounded() == (3, 3, 3)


def test_interval_covers_the_truth_and_shrinks_with_rounds() -> None:
    generator = np.random.default_rng(1)

    def width(rounds: int) -> float:
        base = generator.normal(200, 10, (rounds, 5)).tolist()
        other = generator.normal(100, 5, (rounds, 5)).tolist()
        ratio = paired_speedup(base, other)
        assert ratio is not None
        assert ratio.low <= ratio.value <= ratio.high
        assert ratio.low - 0.02 < 2 < ratio.high + 0.02
        return ratio.high - ratio.low

    assert width(200) < width(8)


def test_only_common_rounds_count() -> None:
    ratio = paired_speedup([[10], [10], [99]], [[5], [5]])
    assert ratio is not None
    assert ratio.value == pytest.approx(2)
    assert paired_speedup([], [[1.0]]) is None


def measured(samples: list[float], turns: list[int]) -> Measurement:
    return Measurement(
        artifact="a",
        device="d",
        facts=DeviceFacts(kind="fake", model="m"),
        scenario=Scenario(),
        started="2026-01-01T00:00:00+00:00",
        samples_ms=samples,
        turns=turns,
    )


def test_rounds_are_turns_or_blocks_of_neighbours() -> None:
    assert turns_of(measured([1, 2, 3], [1, 2])) == [[1], [2, 3]]
    assert rounds_of(measured([1, 2, 3], [1, 2])) == [[1], [2, 3]]
    blocks = rounds_of(measured(list(range(26)), [26]))
    assert [len(block) for block in blocks] == [5] * 5
    assert blocks[1] == [5, 6, 7, 8, 9]
    assert rounds_of(measured([], [])) == []


def test_one_or_two_rounds_tell_no_spread() -> None:
    ratio = paired_ratio([([[10.0, 11.0]], [[20.0, 22.0]])])
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(2), None, None)
    two = paired_ratio([([[10.0], [11.0]], [[20.0], [23.0]])])
    assert two is not None
    assert two.low is None
    apart = unpaired_ratio([[[10.0]]], [[[20.0], [21.0], [22.0]]])
    assert apart is not None
    assert apart.low is None


def test_students_quantiles() -> None:
    table = {2: 4.303, 3: 3.182, 4: 2.776, 9: 2.262, 29: 2.045, 1000: 1.962}
    for freedom, expected in table.items():
        assert t_quantile(freedom) == pytest.approx(expected, rel=0.01)


@pytest.fixture
def _fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "RESAMPLES", 400)


def covered(draw: Callable[[np.random.Generator], Ratio | None], truth: float) -> float:
    """Share of 200 experiments whose interval holds the truth."""
    hits = 0
    for seed in range(200):
        ratio = draw(np.random.default_rng(seed))
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        hits += ratio.low <= truth <= ratio.high
    return hits / 200


@pytest.mark.usefixtures("_fewer_resamples")
@pytest.mark.parametrize("rounds", [6, 12, 40])
def test_intervals_of_rounds_hold_the_truth(rounds: int) -> None:
    """Log-normal noise per round, common to both sides, and noise of each sample."""

    def draw(generator: np.random.Generator) -> Ratio | None:
        pace = np.exp(generator.normal(0, 0.2, rounds))
        sides = [
            [(ms * p * np.exp(generator.normal(0, 0.05, 4))).tolist() for p in pace]
            for ms in (100.0, 110.0)
        ]
        return paired_ratio([(sides[0], sides[1])])

    assert 0.91 <= covered(draw, 1.1) <= 1.0


@pytest.mark.usefixtures("_fewer_resamples")
@pytest.mark.parametrize("runs", [3, 5, 10])
def test_intervals_of_runs_hold_the_truth(runs: int) -> None:
    """Each run has a level of its own, which rounds of one run cannot tell."""

    def draw(generator: np.random.Generator) -> Ratio | None:
        def side(ms: float) -> list[list[list[float]]]:
            levels = ms * np.exp(generator.normal(0, 0.05, runs))
            return [
                (level * np.exp(generator.normal(0, 0.01, (8, 3)))).tolist() for level in levels
            ]

        return unpaired_ratio(side(100.0), side(95.0))

    assert 0.91 <= covered(draw, 0.95) <= 1.0


@pytest.mark.usefixtures("_fewer_resamples")
def test_one_run_each_is_too_sure_of_itself() -> None:
    """Why several runs are asked for: the level of a run is taken for the artifact's own."""

    def draw(generator: np.random.Generator) -> Ratio | None:
        def side() -> list[list[list[float]]]:
            level = 100 * np.exp(generator.normal(0, 0.05))
            return [(level * np.exp(generator.normal(0, 0.01, (8, 3)))).tolist()]

        return unpaired_ratio(side(), side())

    assert covered(draw, 1.0) < 0.5


def test_pairing_is_sharper_than_comparing_apart() -> None:
    generator = np.random.default_rng(3)
    pace = np.exp(generator.normal(0, 0.3, 15))
    base = [[100 * p, 101 * p] for p in pace]
    other = [[110 * p, 111 * p] for p in pace]
    paired, apart = paired_ratio([(base, other)]), unpaired_ratio([base], [other])
    assert paired is not None
    assert apart is not None
    assert paired.low is not None
    assert paired.high is not None
    assert apart.low is not None
    assert apart.high is not None
    assert paired.high - paired.low < (apart.high - apart.low) / 20


def test_inverse() -> None:
    assert Ratio(2.0, 1.6, 2.5).inverse() == Ratio(0.5, 0.4, 0.625)
    assert Ratio(2.0, None, None).inverse() == Ratio(0.5, None, None)


def test_a_clock_too_coarse_to_see_a_run() -> None:
    ratio = paired_ratio([([[0.0], [0.0], [1.0]], [[1.0], [1.0], [1.0]])])
    assert ratio is not None
    assert np.isfinite(ratio.value)
