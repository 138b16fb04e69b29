"""Timing one callable: one clock, raw samples, no statistics."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

SETTLE_BELOW_MS = 100.0
"""A turn starts with an untimed run when runs are shorter than this: the caches that the previous
process left cold cost milliseconds, which would bias a short run but vanish in a long one."""


class Clock(Protocol):
    """A source of time."""

    def __call__(self) -> float:
        """Seconds from an arbitrary origin, never running backwards."""


def wall_clock() -> float:
    """The clock of real measurements."""
    return time.perf_counter()


def time_run(run: Callable[[], object], clock: Clock = wall_clock) -> float:
    """Milliseconds of one call. ``run`` must have finished its work when it returns."""
    start = clock()
    run()
    return (clock() - start) * 1e3


def take_samples(
    run: Callable[[], object],
    *,
    min_runs: int,
    min_seconds: float,
    clock: Clock = wall_clock,
) -> list[float]:
    """Time ``run`` at least ``min_runs`` times **and** for at least ``min_seconds``.

    Returns:
        Every sample in milliseconds, in order; the time they cover is their sum.
    """
    samples: list[float] = []
    total = 0.0
    while len(samples) < min_runs or total < min_seconds * 1e3:
        samples.append(time_run(run, clock))
        total += samples[-1]
    return samples


def take_turn(
    run: Callable[[], object],
    *,
    seconds: float,
    expected_ms: float,
    clock: Clock = wall_clock,
) -> list[float]:
    """One turn among several artifacts: settle if runs are short, then sample for ``seconds``.

    Args:
        run: What is timed.
        seconds: Length of the turn; one sample is taken even if it is longer.
        expected_ms: What a run took so far; see :data:`SETTLE_BELOW_MS`.
        clock: Its source of time.
    """
    if expected_ms < SETTLE_BELOW_MS:
        run()
    return take_samples(run, min_runs=1, min_seconds=seconds, clock=clock)
