"""Means over a whole image, given to a network that sees the image in tiles.

A network with global pooling (channel attention) is local but for the means that it takes. Given
those of the whole image, its tiles are what the whole image gives. Poolings follow each other: the
means of the second are right only when the first was given its own. So the tiles are seen in
several passes (:mod:`srdeploy.runtime.whole_image`), and each gets what those before found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError

Size = tuple[int, int]
Core = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Pooling:
    """What a network pools.

    Attributes:
        reach: Pixels of its input that an output pixel depends on, to each side, all means being
            given.
        count: Poolings that it makes, in the order in which it makes them.
    """

    reach: int
    count: int


class Enough(BaseException):
    """A pass knows what it was for. No Exception: whoever handles failures lets it through."""


class WholeMeans:
    """What the poolings of one pass over an image are given, and what they find.

    Attributes:
        given: Of the first poolings: means over the whole image, ``float64 [n]`` each.
        until: How many poolings a pass is to find the means of, the given ones among them; None
            where all are given and only the result is wanted.
    """

    def __init__(self, given: Sequence[NDArray[np.float64]], until: int | None = None) -> None:
        self.given, self.until = list(given), until
        self._sums: list[NDArray[np.float64]] = []
        self._counts: list[int] = []
        self.enter((slice(0, 0), slice(0, 0)), (1, 1))

    def enter(self, core: Core, window: Size) -> None:
        """The next run sees a window of this size, of which it adds up the core."""
        self._core, self.window = core, window
        self.seen = 0

    def exchange(
        self, size: Size, sums: Callable[[Core], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """One pooling: the means that it takes.

        Args:
            size: Height and width of its features.
            sums: The sums over some of their rows and columns, ``float64 [n]``.

        Raises:
            Enough: the pass has found what it was for.
        """
        number = self.seen
        self.seen += 1
        if self.until is None:
            return self.given[number]
        core = self.core(size)
        found = sums(core)
        count = self._add(number, found, core)
        if self.seen == self.until:
            raise Enough
        return self.given[number] if number < len(self.given) else found / max(count, 1)

    def add(self, found: Sequence[NDArray[np.float64]], core: Core) -> None:
        """The sums of all poolings that a run of its own made, up to :attr:`until`."""
        for number, sums in enumerate(found):
            self._add(number, sums, core)

    def _add(self, number: int, found: NDArray[np.float64], core: Core) -> int:
        """Returns the pixels of the core."""
        count = _length(core[0]) * _length(core[1])
        if number == len(self._sums):
            self._sums.append(np.zeros_like(found))
            self._counts.append(0)
        self._sums[number] += found
        self._counts[number] += count
        return count

    def check(self) -> None:
        """See, after a run to its end, that it made as many poolings as are given.

        Raises:
            SrdeployError: it did not.
        """
        if self.until is None and self.seen != len(self.given):
            raise SrdeployError(
                f"The network pools {self.seen} times in a part of the image, {len(self.given)} "
                "times elsewhere; give more --memory, so that there are no tiles."
            )

    def core(self, size: Size) -> Core:
        """The core in features of this size, which are the window's, enlarged or reduced."""
        rows, columns = (
            _scaled(part, whole, side)
            for part, whole, side in zip(self._core, self.window, size, strict=True)
        )
        return rows, columns

    def found(self) -> list[NDArray[np.float64]]:
        """The means that the pass found."""
        return [sums / count for sums, count in zip(self._sums, self._counts, strict=True)]


def _length(part: slice) -> int:
    return part.stop - part.start


def _scaled(part: slice, whole: int, side: int) -> slice:
    if part.stop == whole:  # so that what is left over at the border belongs to somebody
        return slice(part.start * side // whole, side)
    ratio = max(round(whole / side), 1)
    if side > whole:
        return slice(part.start * (side // whole), part.stop * (side // whole))
    return slice(part.start // ratio, part.stop // ratio)
