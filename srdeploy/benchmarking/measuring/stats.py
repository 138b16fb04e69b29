"""Samples to figures: percentiles, and ratios with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from srdeploy.measure.measurement import Measurement

RESAMPLES = 2000
CONFIDENCE = 0.95
FEWEST = 3
"""Rounds, or runs where there are several, from which on an interval is given."""

Rounds = Sequence[Sequence[float]]
"""Samples of one run of an artifact, by turn."""


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
    """A ratio of times with its 95 % interval.

    ``low`` and ``high`` are None below :data:`FEWEST` observations, which tell no spread.
    """

    value: float
    low: float | None
    high: float | None

    def rounded(self) -> tuple[float | None, ...]:
        """Value, low and high with four decimals."""
        return tuple(None if x is None else round(x, 4) for x in (self.value, self.low, self.high))

    def inverse(self) -> Ratio:
        """The ratio the other way round."""
        low, high = (None if end is None else 1 / end for end in (self.high, self.low))
        return Ratio(1 / self.value, low, high)


def turns_of(measurement: Measurement) -> list[list[float]]:
    """Samples by turn."""
    samples = iter(measurement.samples_ms)
    return [[next(samples) for _ in range(length)] for length in measurement.turns]


def rounds_of(measurement: Measurement) -> list[list[float]]:
    """Samples by turn; where there was one turn only, by blocks of neighbours.

    What disturbs a machine lasts longer than a sample, so neighbours are alike and count as one
    observation. Blocks of about the square root of the samples are the usual choice.
    """
    turns = turns_of(measurement)
    if len(turns) != 1:
        return turns
    samples = turns[0]
    length = math.isqrt(len(samples))
    return [samples[i : i + length] for i in range(0, len(samples) - length + 1, length)]


def paired_ratio(sessions: Sequence[tuple[Rounds, Rounds]]) -> Ratio | None:
    """How many times longer the second takes than the first, of artifacts that took turns.

    Each round gives one ratio of medians, taken seconds apart, so that whatever slows the machine
    for longer than a round slows both sides. The ratio of a session is the median of its rounds',
    that of several sessions their geometric mean.

    Args:
        sessions: Samples (ms) by turn of both, for each session that both took part in.

    Returns:
        None when they share no round.
    """
    runs = [
        np.array([_log_median(o) - _log_median(b) for b, o in zip(base, other, strict=False)])
        for base, other in sessions
    ]
    runs = [run for run in runs if run.size]
    if not runs:
        return None
    return _ratio(_estimate(runs), _draws(runs, seed=0))


def unpaired_ratio(base: Sequence[Rounds], other: Sequence[Rounds]) -> Ratio | None:
    """How many times longer the second takes than the first, measured apart from each other.

    Args:
        base: Samples (ms) of each run, by round. Only several runs tell how much runs differ:
            with one on a side, what its start happened to fix (memory layout, clocks) is taken
            for the artifact's own.
        other: Likewise.

    Returns:
        None when a side has no samples.
    """
    sides = [[np.array([_log_median(r) for r in run]) for run in side] for side in (base, other)]
    before, after = ([run for run in side if run.size] for side in sides)
    if not before or not after:
        return None
    value = _estimate(after) - _estimate(before)
    return _ratio(value, _draws(after, seed=1) - _draws(before, seed=2))


def paired_speedup(base: Rounds, other: Rounds) -> Ratio | None:
    """How many times faster ``other`` is than ``base``; see :func:`paired_ratio`."""
    ratio = paired_ratio([(base, other)])
    return None if ratio is None else ratio.inverse()


def _log_median(samples: Sequence[float]) -> float:
    # A browser's clock may be so coarse that a run takes no time on it.
    return math.log(max(float(np.median(samples)), 1e-6))


def _estimate(runs: Sequence[NDArray[np.float64]]) -> float:
    return float(np.mean([np.median(run) for run in runs]))


def _draws(runs: Sequence[NDArray[np.float64]], seed: int) -> NDArray[np.float64]:
    """Bootstrap of :func:`_estimate`: runs are drawn anew, and in each of them its rounds.

    Few observations spread less than what they are drawn from, and a normal tail is too short for
    them; both are made up for by widening (Hesterberg, "What Teachers Should Know About the
    Bootstrap", The American Statistician 69:4, 2015, section 4.3): by sqrt(n / (n - 1)), and by
    Student's t over the normal quantile. Fewer than :data:`FEWEST` give NaN.
    """
    generator = np.random.default_rng(seed)
    count = len(runs)
    chosen = generator.integers(count, size=(RESAMPLES, count))
    slots = np.empty(chosen.shape)
    for number, run in enumerate(runs):
        mine = chosen == number
        again = generator.choice(run, size=(int(mine.sum()), run.size))
        slots[mine] = np.median(again, axis=1)
    drawn = slots.mean(axis=1)
    units = count if count > 1 else runs[0].size
    if units < FEWEST:
        return np.full(RESAMPLES, np.nan)
    widening = math.sqrt(units / (units - 1)) * t_quantile(units - 1) / _Z
    centre = _estimate(runs)
    return centre + widening * (drawn - centre)


def _ratio(value: float, draws: NDArray[np.float64]) -> Ratio:
    if not np.isfinite(draws).all():
        return Ratio(math.exp(value), None, None)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return Ratio(*(math.exp(x) for x in (value, low, high)))


_Z = 1.959964
"""97.5 % quantile of the normal distribution."""


def t_quantile(freedom: int) -> float:
    """97.5 % quantile of Student's t.

    Exact for 2 degrees of freedom, by the expansion in 1 / freedom (Abramowitz & Stegun, 26.7.5)
    above, which is within 1 %.
    """
    if freedom == 2:
        p = 0.975
        return (2 * p - 1) / math.sqrt(2 * p * (1 - p))
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
