"""Samples to figures: percentiles, and ratios with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Latency:
    """Summary of raw samples, in milliseconds.

    ``iqr_ms`` is the distance between the quartiles: the spread of the middle half.
    """

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    iqr_ms: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Latency:
        """Summarise at least one sample (percentiles interpolate linearly)."""
        p25, p50, p75, p90, p99 = np.percentile(samples_ms, [25, 50, 75, 90, 99])
        figures = (p50, p90, p99, np.mean(samples_ms), np.min(samples_ms), p75 - p25)
        return cls(*(round(float(figure), 4) for figure in figures))

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Ratio:
    """How many times faster something is: the median over rounds, with a 95 % interval."""

    median: float
    low: float
    high: float


def paired_speedup(
    base: Sequence[Sequence[float]], other: Sequence[Sequence[float]]
) -> Ratio | None:
    """Speed-up of ``other`` over ``base``, paired by round.

    Each round gives one ratio of medians, taken seconds apart, so that whatever slows the machine
    for longer than a round slows both sides. The interval is a percentile bootstrap over rounds;
    a single round cannot tell its own spread and gives ``low == median == high``.

    Args:
        base: Samples (ms) of the reference, one sequence per round.
        other: The same of the artifact compared.

    Returns:
        Above 1 means ``other`` is faster; None when they share no round.
    """
    ratios = np.array([np.median(b) / np.median(o) for b, o in zip(base, other, strict=False)])
    if ratios.size == 0:
        return None
    generator = np.random.default_rng(0)
    drawn = generator.choice(ratios, size=(RESAMPLES, ratios.size))
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(np.median(drawn, axis=1), [tail, 100 - tail])
    return Ratio(*(round(float(x), 4) for x in (np.median(ratios), low, high)))
