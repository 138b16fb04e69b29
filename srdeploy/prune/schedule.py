"""How a penalty grows: a function of the iteration, so a resumed run needs to remember nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Ramp:
    """A penalty that grows in equal steps up to a limit, and is then held.

    SRP (Zhang et al., ICLR 2022, section 3.3): every ``every`` iterations the penalty grows by
    ``growth`` until it reaches ``limit``; then training goes on for ``hold`` iterations.

    Attributes:
        growth: Added at each step.
        every: Iterations between steps; the first step is taken at iteration ``start``.
        limit: Highest penalty.
        hold: Iterations after the last step (the papers' stabilising stage).
        start: Iteration of the first step; 0 before it.
    """

    growth: float
    every: int
    limit: float
    hold: int
    start: int = 0

    @property
    def steps(self) -> int:
        """How often the penalty grows."""
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
        return min(self.limit, self.growth * ((iteration - self.start) // self.every + 1))

    def phase(self, iteration: int) -> str:
        """In a word: ``waiting``, ``growing`` or ``holding``."""
        if iteration < self.start:
            return "waiting"
        return "growing" if iteration < self.full else "holding"
