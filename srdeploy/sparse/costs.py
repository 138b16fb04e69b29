"""Which form is cheaper: both are timed here, and the quicker one for size and density is taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

SIDES = (48, 160)
"""Sides of the squares that the forms are timed on: one in a core's cache, one beyond it."""

REPEATS = 5

MARGIN = 0.95
"""Listing pixels is chosen where it is expected to take less than this share of the other: a timing
that was off costs no more than it could have gained."""

Decide = Callable[[int, Tensor], str]
"""A module's number and its mask (bool ``[pixels]``) to the form it takes: ``rows``, ``dense``."""


@dataclass(frozen=True)
class CostLine:
    """Time as a straight line over work: ``fixed + slope * work``, milliseconds."""

    fixed: float
    slope: float

    def at(self, work: float) -> float:
        """Milliseconds for so much work."""
        return self.fixed + self.slope * work

    def __add__(self, other: CostLine) -> CostLine:
        return CostLine(self.fixed + other.fixed, self.slope + other.slope)

    @staticmethod
    def through(first: tuple[float, float], second: tuple[float, float]) -> CostLine:
        """The line through two (work, ms), not falling and not starting below zero."""
        (x1, y1), (x2, y2) = first, second
        slope = max((y2 - y1) / (x2 - x1), 0.0)
        return CostLine(max(y1 - slope * x1, 0.0), slope)


@dataclass(frozen=True)
class FormCosts:
    """What one module (or layer) costs here, over the number of pixels.

    Attributes:
        empty: On listed pixels, the list being empty.
        full: On listed pixels, all being listed.
        dense: Everywhere, by the library's convolutions.
    """

    empty: CostLine
    full: CostLine
    dense: CostLine

    def rows(self, pixels: int, density: float) -> float:
        """Milliseconds on listed pixels, a share ``density`` of all."""
        empty = self.empty.at(pixels)
        return empty + density * max(self.full.at(pixels) - empty, 0.0)

    def choose(self, pixels: int, density: float) -> str:
        """``"rows"`` or ``"dense"``: the cheaper one."""
        expected = self.rows(pixels, density)
        return "rows" if expected <= MARGIN * self.dense.at(pixels) else "dense"

    def break_even(self, pixels: int) -> float:
        """Density up to which listing pixels pays: 0 (never) to 1 (always)."""
        empty, full = self.empty.at(pixels), max(self.full.at(pixels), self.empty.at(pixels))
        gain = self.dense.at(pixels) - empty
        if full == empty:
            return 1.0 if gain >= 0 else 0.0
        return min(max(gain / (full - empty), 0.0), 1.0)


class Timings:
    """Shortest times of things that take turns: what disturbs one round disturbs all of them.

    Attributes:
        points: By name, (work, ms).
    """

    def __init__(self) -> None:
        self.points: dict[str, list[tuple[float, float]]] = {}
        self._waiting: list[tuple[str, float, Callable[[], object]]] = []

    def note(self, name: str, work: float, run: Callable[[], object]) -> None:
        """Have ``run`` timed, which does so much work."""
        self._waiting.append((name, work, run))

    def take(self, repeats: int = REPEATS) -> None:
        """Time what waits, in turns, so many rounds.

        Every turn is a pair of runs, of which the second counts: the first one brings caches and
        memory back from what the others left (which cost the dense form twice its time).
        """
        best = [float("inf")] * len(self._waiting)
        for _ in range(repeats):
            for place, (_, _, run) in enumerate(self._waiting):
                run()
                start = time.perf_counter()
                run()
                best[place] = min(best[place], (time.perf_counter() - start) * 1e3)
        for (name, work, _), ms in zip(self._waiting, best, strict=True):
            self.points.setdefault(name, []).append((work, ms))
        self._waiting.clear()

    def line(self, name: str) -> CostLine:
        """Through the first and the last of its points."""
        points = self.points[name]
        return CostLine.through(points[0], points[-1])
