"""Where sparse begins to pay: masked layers timed in both forms, over size and density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.sparse.costs import Timings
from srdeploy.sparse.engine import SparseEngine
from srdeploy.sparse.workspace import Arena, Workspace

BLOB = 8
"""Pixels across a patch of a test mask, about: masks follow edges and textures, not noise."""


@dataclass(frozen=True)
class SizeResult:
    """Both forms on square images of one size.

    Attributes:
        side: Pixels along a side.
        dense_ms: Everywhere, shortest of the repeats.
        rows_ms: Inside the mask only, for every density.
        densities: Shares of pixels inside.
        pays_below: Density up to which rows are quicker: 0 never, 1 always.
    """

    side: int
    dense_ms: float
    rows_ms: list[float]
    densities: list[float]
    pays_below: float


def measure_size(
    engine: SparseEngine, side: int, densities: Sequence[float], repeats: int
) -> SizeResult:
    """Time the first module of ``engine`` on images of ``side`` x ``side``.

    The forms take turns, so that a disturbance meets all of them.
    """
    timings, pixels = Timings(), side * side
    with torch.inference_mode():
        space = Workspace(Arena(), side, side)
        x, out = space.plane("x", engine.width), space.plane("out", engine.width)
        generator = torch.Generator().manual_seed(side)
        image = torch.rand(engine.width, side, side, generator=generator)
        space.inner(x, engine.width).copy_(image)
        engine.frame.measure(timings, space, x)
        for density in densities:
            mask = blobs(side, density, generator)
            rows = partial(engine.modules[0].rows, space, x, out, mask)
            timings.note(f"rows {density}", pixels, rows)
        timings.take(repeats)
    layout = timings.points.get("layout", [(0, 0.0)])[0][1]
    rows_ms = [timings.points[f"rows {density}"][0][1] + layout for density in densities]
    dense_ms = timings.points["dense"][0][1]
    pays = crossing(densities, rows_ms, dense_ms)
    return SizeResult(side, dense_ms, rows_ms, list(densities), pays)


def blobs(side: int, density: float, generator: torch.Generator) -> Tensor:
    """A mask of patches, bool ``[side * side]``, with that share of pixels inside."""
    coarse = -(-side // BLOB) + 1
    noise = torch.rand(1, 1, coarse, coarse, generator=generator)
    smooth = functional.interpolate(noise, size=(side, side), mode="bicubic").flatten()
    order = smooth.argsort(descending=True)
    mask = torch.zeros(side * side, dtype=torch.bool)
    mask[order[: round(density * side * side)]] = True
    return mask


def crossing(densities: Sequence[float], rows_ms: Sequence[float], dense_ms: float) -> float:
    """Density where rows stop being quicker than dense, interpolated; 0 never, 1 always."""
    if rows_ms[0] > dense_ms:
        return 0.0
    pairs = list(zip(densities, rows_ms, strict=True))
    for (d0, r0), (d1, r1) in pairwise(pairs):
        if r1 > dense_ms:
            return d0 + (d1 - d0) * (dense_ms - r0) / (r1 - r0)
    return 1.0
