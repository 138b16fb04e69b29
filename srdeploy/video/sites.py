"""Where samples lie: chroma moved from one grid to another, whatever the sizes and positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import resample
from srdeploy.video.layout import Layout

LEFT, CENTRE, TOP_LEFT, TOP, BOTTOM_LEFT, BOTTOM = 1, 2, 3, 4, 5, 6
"""Positions of chroma samples, by FFmpeg's numbers."""


@dataclass(frozen=True)
class Axis:
    """Samples along one side of a picture.

    Attributes:
        count: How many.
        step: Luma samples from one to the next.
        first: Where the first lies, in luma samples from the first luma sample.
    """

    count: int
    step: int = 1
    first: float = 0.0

    def flipped(self, luma: int) -> Axis:
        """The same samples seen from the other end of a side of so many luma samples."""
        last = self.first + self.step * (self.count - 1)
        return Axis(self.count, self.step, luma - 1 - last)


Grid = tuple[Axis, Axis]
"""Of rows and of columns."""


def luma_grid(height: int, width: int) -> Grid:
    """Where the luma samples lie."""
    return Axis(height), Axis(width)


def chroma_grid(layout: Layout, height: int, width: int, location: int = 0) -> Grid:
    """Where the chroma samples of a frame lie.

    Args:
        layout: Of the frame.
        height: Of its luma.
        width: Likewise.
        location: By FFmpeg's number; 0 (untold) is left, the default of H.264 and HEVC.
    """
    rows, columns = layout.shape(1, height, width)
    across, down = (layout.across - 1) / 2, (layout.down - 1) / 2  # in the middle
    if location in (0, LEFT, TOP_LEFT, BOTTOM_LEFT):
        across = 0.0
    if location in (TOP_LEFT, TOP):
        down = 0.0
    if location in (BOTTOM_LEFT, BOTTOM):
        down = layout.down - 1.0
    return Axis(rows, layout.down, down), Axis(columns, layout.across, across)


def move(
    plane: NDArray, given: Grid, wanted: Grid, scale: int = 1
) -> NDArray[np.float64] | NDArray[np.float32]:
    """A plane on another grid, by bicubic interpolation, of a picture ``scale`` times as large.

    Args:
        plane: ``[rows, columns]``, floating.
        given: Where its samples lie.
        wanted: Where the result's samples lie, in luma samples of the larger picture.
        scale: How many times the picture is larger; its pixels are where
            :func:`srdeploy.data.bicubic.imresize` has them.

    Returns:
        Floating; the plane itself where nothing moves.
    """
    if scale == 1 and given == wanted:
        return plane
    factors = tuple(a.step * scale / b.step for a, b in zip(given, wanted, strict=True))
    shifts = []
    for a, b, factor in zip(given, wanted, factors, strict=True):
        # Sample 0 of the result lies here, counted in samples of the plane; imresize has it there.
        place = (((b.first + 0.5) / scale - 0.5) - a.first) / a.step
        shifts.append(place - (0.5 / factor - 0.5))
    size = wanted[0].count, wanted[1].count
    return resample(plane, size, factors, shifts)
