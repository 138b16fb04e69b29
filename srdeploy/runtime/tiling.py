"""Images cut into tiles that together give exactly what the whole image gives.

An output pixel depends on the input pixels within the network's receptive field. A tile therefore
sees more than it gives: a window that reaches that far beyond its core on every side. At the
image's own border the window ends where the image ends, so the network pads with zeros there, and
nowhere else, as it does on the whole image. Every window has one shape, which spares the runtime
planning memory anew; at the border it reaches further inward instead of outward.

What is exact is the arithmetic: each kept value is the same sum of the same products. It is the
same number, too, where a runtime's kernels add in an order that does not depend on the image's
size. oneDNN's (torch) and ONNX Runtime's do for windows of :data:`MIN_SIDE` pixels and more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.whole_means import Pooling
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes, Size

MIN_SIDE = 160
"""Sides that tiles have at least unless told: torch runs inputs of up to 20480 values (143x143 of
luma) in kernels that round differently."""

GLOBAL_OVERLAP = 64
"""Overlap for networks that pool over the whole image, where none is exact."""


@dataclass(frozen=True)
class Tile:
    """One run of the network; all slices are in network input pixels.

    Attributes:
        rows: Rows of the window: what the network sees.
        columns: Its columns.
        core_rows: Rows whose result is kept.
        core_columns: Their columns.
    """

    rows: slice
    columns: slice
    core_rows: slice
    core_columns: slice

    def inner(self, scale: int) -> tuple[slice, slice]:
        """Where the core lies in the window's output."""
        return (
            _scaled(self.core_rows, scale, self.rows.start),
            _scaled(self.core_columns, scale, self.columns.start),
        )

    def outer(self, scale: int) -> tuple[slice, slice]:
        """Where the core lies in the whole output."""
        return _scaled(self.core_rows, scale), _scaled(self.core_columns, scale)


@dataclass(frozen=True)
class Grid:
    """How one input is cut.

    Attributes:
        height: Of the network's input, in pixels.
        width: Likewise.
        tile: Height and width of every window.
        overlap: How far windows reach beyond their cores, in network input pixels.
        exact: The tiles give what the whole gives.
        rows: Cuts of the height: window start, core start, core stop.
        columns: Cuts of the width.
    """

    height: int
    width: int
    tile: Size
    overlap: int
    exact: bool
    rows: tuple[tuple[int, int, int], ...]
    columns: tuple[tuple[int, int, int], ...]

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles, row by row."""
        (height, width) = self.tile
        return tuple(
            Tile(slice(y, y + height), slice(x, x + width), slice(top, bottom), slice(left, right))
            for y, top, bottom in self.rows
            for x, left, right in self.columns
        )

    @property
    def whole(self) -> bool:
        """Whether there is a single tile."""
        return len(self.rows) == len(self.columns) == 1

    @property
    def work(self) -> float:
        """Pixels the network sees over pixels there are: the price of the overlap."""
        seen = len(self.rows) * len(self.columns) * math.prod(self.tile)
        return seen / (self.height * self.width)


def plan_grid(
    card: Card,
    height: int,
    width: int,
    *,
    pixels: int | None = None,
    tile: Size | None = None,
    overlap: int | None = None,
    sizes: InputSizes | None = None,
    pooling: Pooling | None = None,
) -> Grid:
    """Cut an input into tiles.

    Args:
        card: Of the network.
        height: Of the network's input (of the upscaled image where the card says
            ``pre_upscaled``), a multiple of ``card.size_multiple``.
        width: Likewise.
        pixels: The most pixels a window may have.
        tile: The window's height and width, instead. By default all is one window.
        overlap: Reach beyond the core in network input pixels; default: what is exact, or a quarter
            of the tile where that is more than an artifact of few sizes can bear.
        sizes: What the artifact takes, as ``Session.sizes``.
        pooling: What the session pools, as ``Session.pooling``.

    Raises:
        UserError: the overlap leaves nothing of such tiles, or the artifact takes no size that
            fits into this input.
        ValueError: a height, width or tile that is no multiple of ``card.size_multiple``.
    """
    multiple = card.size_multiple
    if height % multiple or width % multiple or any(side % multiple for side in tile or ()):
        raise ValueError(f"sides must be multiples of {multiple}: {height}x{width}, tile {tile}")
    needed = exact_overlap(card, pooling)
    reach = overlap if overlap is not None else (GLOBAL_OVERLAP if needed is None else needed)
    if overlap is None and sizes is not None:
        reach = _bearable(reach, height, width, sizes)
    unknown = not card.receptive_field and not (sizes and sizes.listed)
    align = math.lcm(multiple, 8) if unknown else multiple  # it may pool by 2, 4 or 8
    around = -(-reach // align) * align
    if tile is None:
        tile = _choose_tile(height, width, around, multiple, pixels, sizes)
    fixed = sizes is not None
    rows, tall = _cut(height, min(tile[0], height), around, align, fixed)
    columns, wide = _cut(width, min(tile[1], width), around, align, fixed)
    whole = len(rows) == len(columns) == 1
    exact = whole or (needed is not None and reach >= needed)
    return Grid(height, width, (tall, wide), reach, exact, rows, columns)


def _bearable(reach: int, height: int, width: int, sizes: InputSizes) -> int:
    """The overlap, or less where listed sizes would leave nothing inside it."""
    narrow = [  # of each size that lies within the image: its shortest side that has to be cut
        min([side for side, whole in pairs if side < whole], default=0)
        for pairs in (list(zip(tile, (height, width), strict=True)) for tile in sizes.listed)
        if all(side <= whole for side, whole in pairs)
    ]
    if not narrow or any(side == 0 or 2 * reach < side for side in narrow):
        return reach
    return max(narrow) // 4


def exact_overlap(card: Card, pooling: Pooling | None = None) -> int | None:
    """The overlap that makes tiles exact, in network input pixels; None: none does.

    None is for networks whose every output pixel depends on the whole image, unless it does so by
    ``pooling`` only, and for foreign artifacts, of which nothing is known.
    """
    if card.receptive_field:
        return card.receptive_field // 2
    return None if pooling is None else pooling.reach


def smallest_tile(card: Card, overlap: int | None = None, pooling: Pooling | None = None) -> int:
    """Side of the smallest tile worth running: at most half of it is overlap."""
    multiple = card.size_multiple
    reach = overlap if overlap is not None else exact_overlap(card, pooling)
    reach = GLOBAL_OVERLAP if reach is None else reach
    return -(-max(MIN_SIDE, 4 * reach) // multiple) * multiple


def run_tiled(session: Session, x: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """``session.run(x)``, tile by tile.

    Args:
        session: The network.
        x: As :meth:`Session.run` takes it, of the grid's height and width.
        grid: From :func:`plan_grid`.

    Returns:
        As :meth:`Session.run`.

    Raises:
        ValueError: the grid is for another size.
        SrdeployError, UserError: as :meth:`Session.run`.
    """
    if x.shape[2:] != (grid.height, grid.width):
        raise ValueError(f"a grid for {grid.height}x{grid.width} cannot cut {x.shape}")
    if grid.whole:
        return session.run(x)
    s = session.card.network_scale
    out = np.empty((*x.shape[:2], grid.height * s, grid.width * s), np.float32)
    for tile in grid.tiles:
        part = session.run(np.ascontiguousarray(x[:, :, tile.rows, tile.columns]))
        rows, columns = tile.inner(s)
        core_rows, core_columns = tile.outer(s)
        out[..., core_rows, core_columns] = part[..., rows, columns]
    return out


def _scaled(part: slice, scale: int, origin: int = 0) -> slice:
    return slice((part.start - origin) * scale, (part.stop - origin) * scale)


def _cut(
    length: int, tile: int, overlap: int, align: int, fixed: bool
) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """Cuts of one side and the windows' length, which shrinks to what is needed unless fixed.

    Windows start at multiples of ``align``: what the network pools keeps its place on the grid.
    """
    if tile >= length:
        return ((0, 0, length),), length
    rest = length % align  # all windows are longer by this, so that the last one starts aligned
    if not fixed:
        tile -= (tile - rest) % align
    step = (tile - rest - 2 * overlap) // align * align
    if step < align:
        raise UserError(
            f"Tiles of {tile} pixels leave nothing inside an overlap of {overlap} on each side; "
            "use larger tiles (more memory, or an artifact for larger inputs) or a smaller "
            "overlap, which is no longer exact."
        )
    # What lies between the two outer overlaps is cut into equal parts, in units of `align`.
    units = (length - rest - 2 * overlap) // align
    count = -(-units // (step // align))
    bounds = [overlap + align * (k * units // count) for k in range(count + 1)]
    bounds[0], bounds[-1] = 0, length
    if not fixed:
        needed = rest + align * -(-units // count) + 2 * overlap
        tile = min(tile, needed + max(0, -(-(MIN_SIDE - needed) // align) * align))
    last = length - tile
    return tuple(
        (max(0, min(start - overlap, last)), start, stop) for start, stop in pairwise(bounds)
    ), tile


def _choose_tile(
    height: int,
    width: int,
    overlap: int,
    multiple: int,
    pixels: int | None,
    sizes: InputSizes | None,
) -> Size:
    """The window: all of the image if it may be, else what costs least."""
    if sizes is not None and sizes.listed:
        return _listed_tile(height, width, overlap, sizes)
    tall, wide = height, width
    if sizes is not None:
        if height < sizes.low[0] or width < sizes.low[1]:
            raise UserError(f"This artifact takes {sizes}, not {width}x{height}.")
        tall, wide = min(tall, sizes.high[0]), min(wide, sizes.high[1])
        tall, wide = tall // multiple * multiple, wide // multiple * multiple
    if pixels is None or tall * wide <= pixels:
        return tall, wide
    tall = min(tall, max(math.isqrt(pixels), pixels // wide)) // multiple * multiple
    wide = min(wide, pixels // max(tall, 1)) // multiple * multiple
    return tall, wide


def _listed_tile(height: int, width: int, overlap: int, sizes: InputSizes) -> Size:
    def seen(tile: Size) -> int:
        """About how many pixels windows of this size see in all."""
        tiles = 1
        for length, side in zip((height, width), tile, strict=True):
            if side < length:
                tiles *= -(-(length - 2 * overlap) // (side - 2 * overlap))
        return tiles * math.prod(tile)

    fitting = [
        tile
        for tile in sizes.listed
        if all(
            side == whole or 2 * overlap < side < whole
            for side, whole in zip(tile, (height, width), strict=True)
        )
    ]
    if not fitting:
        raise UserError(
            f"This artifact takes {sizes} only, which cannot be tiled over an input of "
            f"{width}x{height} with an overlap of {overlap} pixels on each side; export it with "
            "dynamic sizes or for a fitting size, or use a smaller overlap."
        )
    return min(fitting, key=seen)
