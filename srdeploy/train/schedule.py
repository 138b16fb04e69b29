"""Learning rates as plain functions of the iteration: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from bisect import bisect_right

from srdeploy.train.recipe import Constant, Cosine, Step


def learning_rate(
    base: float, schedule: Constant | Step | Cosine, iteration: int, total: int
) -> float:
    """The learning rate of an iteration (from 0) in a run of ``total``.

    During the warm-up the schedule's value is multiplied by ``(iteration + 1) / warmup``. Steps
    count from the start of the run, the cosine from the end of the warm-up.
    """
    rate = base * _decay(schedule, iteration, total)
    if iteration < schedule.warmup:
        rate *= (iteration + 1) / schedule.warmup
    return rate


def _decay(schedule: Constant | Step | Cosine, iteration: int, total: int) -> float:
    if isinstance(schedule, Step):
        if schedule.every is not None:
            return schedule.factor ** (iteration // schedule.every)
        return schedule.factor ** bisect_right(sorted(schedule.milestones), iteration)
    if isinstance(schedule, Cosine):
        length = max(1, total - schedule.warmup)
        done = min(1.0, max(0.0, (iteration - schedule.warmup) / length))
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * done))
    return 1.0
