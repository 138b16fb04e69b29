"""Samples moved between grids: straight lines must stay where they are."""

from __future__ import annotations

import numpy as np
import pytest

from srdeploy.data.bicubic import imresize
from srdeploy.video.layout import planar
from srdeploy.video.sites import (
    BOTTOM,
    CENTRE,
    LEFT,
    TOP_LEFT,
    Axis,
    Grid,
    chroma_grid,
    luma_grid,
    move,
)


def ramp(grid: Grid, scale: int = 1) -> np.ndarray:
    """What lies at the samples of a grid if brightness is a plane over the small picture."""
    rows, columns = (
        ((axis.first + axis.step * np.arange(axis.count)) + 0.5) / scale - 0.5 for axis in grid
    )
    return 3.0 + 0.25 * rows[:, None] - 0.125 * columns[None, :]


@pytest.mark.parametrize("location", [0, LEFT, CENTRE, TOP_LEFT, BOTTOM])
@pytest.mark.parametrize("name", ["yuv420p", "yuv422p", "yuv411p", "yuv440p", "yuv410p"])
def test_chroma_stays_where_it_is(name: str, location: int) -> None:
    height, width = 45, 70
    chroma = chroma_grid(planar(name), height, width, location)
    for given, wanted, scale in (
        (chroma, luma_grid(height, width), 1),
        (luma_grid(height, width), chroma, 1),
        (chroma, chroma_grid(planar("yuv420p"), 3 * height, 3 * width), 3),
        (chroma, chroma_grid(planar(name), 2 * height, 2 * width, location), 2),
    ):
        moved = move(ramp(given), given, wanted, scale)
        inner = tuple(slice(n // 3, -n // 3) for n in moved.shape)
        assert np.abs(moved - ramp(wanted, scale))[inner].max() < 1e-5


def test_a_flip_takes_the_chroma_along() -> None:
    rows, columns = chroma_grid(planar("yuv420p"), 8, 10)
    turned = columns.flipped(10)
    assert (columns.first, turned.first) == (0.0, 1.0)
    plane = ramp((rows, columns))[:, ::-1]
    assert np.allclose(np.diff(plane, axis=1), 0.25)
    assert turned.flipped(10) == columns


def test_luma_is_resized_as_pictures_are() -> None:
    plane = np.random.default_rng(0).random((9, 11))
    moved = move(plane, luma_grid(9, 11), luma_grid(27, 33), 3)
    assert np.abs(moved - imresize(plane, 3)).max() < 1e-6
    small = move(moved, luma_grid(27, 33), (Axis(9, 3, 1.0), Axis(11, 3, 1.0)))
    assert np.abs(small - imresize(moved.astype(np.float64), 1 / 3)).max() < 1e-6
    assert move(plane, luma_grid(9, 11), luma_grid(9, 11)) is plane
