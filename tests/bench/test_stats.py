from __future__ import annotations

import numpy as np
import pytest

from srdeploy.bench.stats import Latency, paired_speedup


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
