"""How a penalty grows: a function of the iteration, so a resumed run needs to remember nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Ramp:
    """A penalty that grows step by step up to a limit, and is then held.

    SRP (Zhang et al., ICLR 2022, section 3.3): every ``every`` iterations the penalty grows by
    ``growth`` until it reaches ``limit``; then training goes on for ``hold`` iterations. With
    ``first`` it grows geometrically (ours): on a short schedule equal steps either start too
    roughly or end too weak, while a constant factor is gentle at first and decisive at the end.

    Attributes:
        growth: Added at each step; with ``first``, the fraction by which the penalty grows.
        every: Iterations between steps; the first step is taken at iteration ``start``.
        limit: Highest penalty.
        hold: Iterations after the last step (the papers' stabilising stage).
        start: Iteration of the first step; 0 before it.
        first: The penalty of the first step of a geometric ramp.
    """

    growth: float
    every: int
    limit: float
    hold: int
    start: int = 0
    first: float | None = None

    @property
    def steps(self) -> int:
        """How many different penalties there are, from the first to the limit."""
        if self.first is not None:
            times = math.log(self.limit / self.first) / math.log1p(self.growth)
            return 1 + max(0, math.ceil(times - 1e-9))
        return max(1, math.ceil(self.limit / self.growth - 1e-9))

    @property
    def full(self) -> int:
        """The iteration from which on the penalty is being held."""
        return self.start + self.steps * self.every

    @property
    def total(self) -> int:
        """Iterations from 0 to the end of the hold."""
        return self.full + self.hold

    def penalty(self, iteration: int) -> float:
        """The penalty that acts in an iteration (from 0)."""
        if iteration < self.start:
            return 0.0
        step = (iteration - self.start) // self.every
        if self.first is None:
            return min(self.limit, self.growth * (step + 1))
        return min(self.limit, self.first * (1 + self.growth) ** min(step, self.steps))

    def phase(self, iteration: int) -> str:
        """In a word: ``waiting``, ``growing`` or ``holding``."""
        if iteration < self.start:
            return "waiting"
        return "growing" if iteration < self.full else "holding"
