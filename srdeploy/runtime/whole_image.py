"""Tiles of networks that pool over the whole image: passes before, which find what they pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from srdeploy.models.whole_means import Enough, WholeMeans
from srdeploy.runtime.session import Session
from srdeploy.runtime.tiling import Grid, Tile

Window = Callable[[slice, slice], NDArray[np.float32]]
"""Rows and columns of an image to ``[1, C, h, w]``."""

STEP_BY_STEP = 8
"""Up to so many poolings, a pass ends behind the first that is not known yet. So the passes take
half as long as whole ones, but there are as many as poolings."""

SETTLED = 1e-7
"""Of the largest mean of a pooling: where nothing changed by more, later passes change nothing."""


def tile_runner(
    session: Session, grid: Grid, window: Window
) -> Callable[[Tile], NDArray[np.float32]]:
    """What runs a tile of an image; where the network pools over all of it, means are found first.

    Args:
        session: The network.
        grid: How the image is cut.
        window: Makes the network's input of a tile.
    """
    pooling = None if grid.whole else session.pooling
    if pooling is None:
        return lambda tile: session.run(window(tile.rows, tile.columns))
    means = WholeMeans(_find(session, grid, window, pooling.count))
    return lambda tile: _run(session, means, tile, window)


def _run(session: Session, means: WholeMeans, tile: Tile, window: Window) -> NDArray[np.float32]:
    x = window(tile.rows, tile.columns)
    means.enter(tile.inner(1), (x.shape[2], x.shape[3]))
    return session.run_given(x, means)


def _find(session: Session, grid: Grid, window: Window, count: int) -> list[NDArray[np.float64]]:
    """The means of all poolings over the whole image.

    After the n-th pass the first n are what they have to be, whatever was given at first; most are
    nearly so long before.
    """
    known: list[NDArray[np.float64]] = []
    for number in range(1, count + 1):
        means = WholeMeans(known, until=number if count <= STEP_BY_STEP else count)
        for tile in grid.tiles:
            with suppress(Enough):
                _run(session, means, tile, window)
        found = means.found()
        settled = len(found) == len(known) == count and _alike(found, known)
        known = found
        if settled:
            break
    return known


def _alike(found: Sequence[NDArray[np.float64]], known: Sequence[NDArray[np.float64]]) -> bool:
    return all(
        np.abs(new - old).max(initial=0) <= SETTLED * np.abs(new).max(initial=0)
        for new, old in zip(found, known, strict=True)
    )
