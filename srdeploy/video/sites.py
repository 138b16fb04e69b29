"""Where samples lie: chroma moved from one grid to another, whatever the sizes and positions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import cubic_taps
from srdeploy.video.layout import Layout
from srdeploy.video.product import product

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
    plane: NDArray[np.float32], given: Grid, wanted: Grid, scale: int = 1
) -> NDArray[np.float32]:
    """A plane on another grid, by bicubic interpolation, of a picture ``scale`` times as large.

    Args:
        plane: ``[rows, columns]``.
        given: Where its samples lie.
        wanted: Where the result's samples lie, in luma samples of the larger picture.
        scale: How many times the picture is larger; its pixels are where
            :func:`srdeploy.data.bicubic.imresize` has them.

    Returns:
        The plane itself where nothing moves; not clipped.
    """
    if scale == 1 and given == wanted:
        return plane
    axes = [0, 1] if wanted[0].count < given[0].count else [1, 0]  # what shrinks rows comes first
    for axis in axes:
        plane = _along(plane, axis, given[axis], wanted[axis], scale)
    return plane


def _along(
    plane: NDArray[np.float32], axis: int, given: Axis, wanted: Axis, scale: int
) -> NDArray[np.float32]:
    """Rows or columns on another axis: a few at a time are a product with a small matrix."""
    shape = [*plane.shape]
    shape[axis] = wanted.count
    out = np.empty(shape, np.float32)
    for there, here, matrix in _blocks(given, wanted, scale):
        if axis == 0:
            product(matrix, plane[here], out[there])
        else:
            product(plane[:, here], matrix.T, out[:, there])
    return out


_BLOCK = 16  # samples that are made at a time


@lru_cache(maxsize=64)
def _blocks(
    given: Axis, wanted: Axis, scale: int
) -> list[tuple[slice, slice, NDArray[np.float32]]]:
    """Samples of the result, those they are made of, and the weights between them."""
    factor = given.step * scale / wanted.step
    # Sample 0 of the result lies here, counted in given samples; imresize has it elsewhere.
    place = (((wanted.first + 0.5) / scale - 0.5) - given.first) / given.step
    weights, sources = cubic_taps(
        given.count, wanted.count, factor, shift=place - (0.5 / factor - 0.5)
    )
    blocks = []
    for start in range(0, wanted.count, _BLOCK):
        there = slice(start, min(start + _BLOCK, wanted.count))
        mine = sources[:, there]
        here = slice(int(mine.min()), int(mine.max()) + 1)
        matrix = np.zeros((there.stop - there.start, here.stop - here.start))
        np.add.at(matrix, (np.arange(len(matrix))[None, :], mine - here.start), weights[:, there])
        blocks.append((there, here, matrix.astype(np.float32)))
    return blocks
