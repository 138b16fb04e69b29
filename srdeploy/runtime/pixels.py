"""Images through a session: value range, padding, luma and colour, the same for every runtime.

Everything is made part by part, from the pixels that the part depends on, and a part is bit for
bit what it is within the whole: an image can be as large as it likes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize_part
from srdeploy.data.images import rgb_to_ycbcr, ycbcr_to_rgb
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.card import Card
from srdeploy.models.whole_means import Pooling
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes, Size
from srdeploy.runtime.tiling import Grid, plan_grid
from srdeploy.runtime.whole_image import tile_runner

Part = tuple[slice, slice, NDArray]
"""Rows and columns of the upscaled image, and its pixels there."""


def upscale_rgb(
    session: Session,
    lr: NDArray,
    scale: int,
    grid: Grid | None = None,
    dtype: type[np.floating] = np.float64,
) -> NDArray:
    """Upscale an RGB image.

    A luma-only network upscales Y of YCbCr; Cb and Cr are upscaled bicubically around it, as VDSR's
    authors do: the eye resolves colour coarsely.

    Args:
        session: the network.
        lr: ``[h, w, 3]`` in 0..255, ``uint8`` or floating, or ``uint16`` in 0..65535.
        scale: output size over ``lr`` size; must be among the card's ``scales``.
        grid: how the input is cut (:func:`plan_image`); default: only to sizes that an artifact
            takes which does not take all.
        dtype: of what is returned; in ``float32``, which is what networks give, it takes less time.

    Returns:
        ``dtype [h * scale, w * scale, 3]``, about 0..255, neither rounded nor clipped.

    Raises:
        UserError: the network does not serve this scale.
        SrdeployError: the network returned values that are not finite.
    """
    return _joined(upscale_parts(session, lr, scale, grid, dtype), lr, scale, dtype)


def upscale_y(
    session: Session,
    y: NDArray,
    scale: int,
    grid: Grid | None = None,
    dtype: type[np.floating] = np.float64,
) -> NDArray:
    """Upscale a luma plane with a luma-only network.

    Args:
        session: the network.
        y: ``[h, w]``, luma in 16..235 (:func:`srdeploy.data.images.rgb_to_y`), not rounded.
        scale: as in :func:`upscale_rgb`.
        grid: likewise.
        dtype: likewise.

    Returns:
        ``dtype [h * scale, w * scale]``, neither rounded nor clipped.

    Raises:
        UserError, SrdeployError: as :func:`upscale_rgb`.
    """
    planes = np.asarray(y, np.float64)[..., None]
    parts = _network_parts(session, planes, scale, grid, dtype)
    return _joined(parts, planes, scale, dtype)[..., 0]


def upscale_parts(
    session: Session,
    lr: NDArray,
    scale: int,
    grid: Grid | None = None,
    dtype: type[np.floating] = np.float64,
) -> Iterator[Part]:
    """As :func:`upscale_rgb`, tile by tile and row by row of tiles: no large array is made."""
    card = session.card
    if not card.luma_only:
        yield from _network_parts(session, lr, scale, grid, dtype)
        return

    def read_colour(rows: slice, columns: slice) -> NDArray[np.float64]:
        return rgb_to_ycbcr(_levels(lr[rows, columns]))[..., 1:]

    for rows, columns, y in _network_parts(session, lr, scale, grid, np.float64):
        colour = imresize_part(read_colour, lr.shape[:2], scale, rows, columns)
        rgb = ycbcr_to_rgb(np.concatenate([y, colour], axis=2))
        yield rows, columns, rgb.astype(dtype, copy=False)


def plan_image(
    card: Card,
    size: Size,
    scale: int,
    *,
    pixels: int | None = None,
    tile: Size | None = None,
    overlap: int | None = None,
    sizes: InputSizes | None = None,
    pooling: Pooling | None = None,
) -> Grid:
    """Cut an image into tiles, for the network that will upscale it.

    An image smaller than anything an artifact takes is enlarged by reflection. Its borders then
    are not those of the exact result, and the grid says so.

    Args:
        card: Of the network.
        size: The image's height and width.
        scale: Output size over image size.
        pixels: The most network input pixels a tile may have.
        tile: As in :func:`srdeploy.runtime.tiling.plan_grid`.
        overlap: Likewise.
        sizes: What the artifact takes, as ``Session.sizes``.
        pooling: What its session pools, as ``Session.pooling``.

    Raises:
        UserError: as :func:`srdeploy.runtime.tiling.plan_grid`, or a scale that is not served.
    """
    height, width = _input_size(card, size, scale)
    smallest = _smallest(sizes, height, width)
    grid = plan_grid(
        card,
        max(height, smallest[0]),
        max(width, smallest[1]),
        pixels=pixels,
        tile=tile,
        overlap=overlap,
        sizes=sizes,
        pooling=pooling,
    )
    enlarged = (grid.height, grid.width) != (height, width)
    return replace(grid, exact=False) if enlarged else grid


def network_input(card: Card, image: NDArray, scale: int, batch: int = 1) -> NDArray[np.float32]:
    """The tensor that a network reads for an image: value range, luma, padding, pre-upscaling.

    Args:
        card: Of the network.
        image: ``[h, w, 3]`` in 0..255, ``uint8`` or floating, or ``uint16`` in 0..65535.
        scale: Output size over ``image`` size.
        batch: How often the image stands in the tensor.

    Returns:
        ``float32``, of :func:`input_shape`, in 0..``card.value_range``.

    Raises:
        UserError: the network does not serve this scale.
    """
    grid = plan_image(card, image.shape[:2], scale)
    x = _Input(card, image, scale, grid).window(slice(grid.height), slice(grid.width))
    return np.repeat(x, batch, axis=0)


def input_shape(card: Card, size: Size, scale: int, batch: int = 1) -> tuple[int, int, int, int]:
    """Shape ``(N, C, H, W)`` of :func:`network_input` for an image of this height and width.

    Raises:
        UserError: the network does not serve this scale.
    """
    return (batch, card.channels, *_input_size(card, size, scale))


def check_scale(card: Card, scale: int) -> None:
    """Raise UserError unless the network serves this scale, and images as there are."""
    if card.channels not in (1, 3, 4):
        raise UserError(
            f"This {card.arch} network takes images of {card.channels} channels; srdeploy upscales "
            "images of 1, 3 or 4: grey, colour, or colour and opacity."
        )
    if scale not in card.scales:
        served = ", ".join(f"x{s}" for s in card.scales)
        raise UserError(f"This {card.arch} network upscales by {served}, not by x{scale}.")


def _input_size(card: Card, size: Size, scale: int) -> Size:
    """Height and width of the network's input: multiples of what it wants, and large enough."""
    check_scale(card, scale)
    # A network with several output scales in one module would need to be told which; the only ones
    # that serve several are pre-upscaled, and there the input's size says it.
    factor, multiple = scale if card.pre_upscaled else 1, card.size_multiple
    height, width = (-(-max(side * factor, card.smallest) // multiple) * multiple for side in size)
    return height, width


def _smallest(sizes: InputSizes | None, height: int, width: int) -> Size:
    """The size an input must have at least; of several, the one that is nearest."""
    if sizes is None:
        return 1, 1
    if not sizes.listed:
        return sizes.low
    return min(sizes.listed, key=lambda s: (max(s[0], height) * max(s[1], width), -s[0] * s[1]))


def _network_parts(
    session: Session, image: NDArray, scale: int, grid: Grid | None, dtype: type[np.floating]
) -> Iterator[Part]:
    """``[h, w, C]`` through the network, C being what it takes, or 3 where it takes luma or
    opacity.
    """
    card = session.card
    height, width = image.shape[:2]
    grid = grid or plan_image(card, (height, width), scale, sizes=session.sizes)
    check_scale(card, scale)
    s = card.network_scale
    true_height, true_width = height * scale, width * scale
    run = tile_runner(session, grid, _Input(card, image, scale, grid).window)
    for tile in grid.tiles:
        rows, columns = tile.outer(s)
        rows = slice(rows.start, min(rows.stop, true_height))
        columns = slice(columns.start, min(columns.stop, true_width))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue  # nothing but padding
        out = run(tile)[0]
        top, left = (tile.rows.start * s, tile.columns.start * s)
        out = out[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        if not np.isfinite(out).all():
            raise SrdeployError(
                f"The {card.arch} network returned values that are not finite under "
                f"{session.runtime}; its weights or its precision are broken."
            )
        out = out[:3].transpose(1, 2, 0)  # of four channels, the last is opacity
        levels = np.empty_like(out, dtype)
        np.multiply(out, 255.0 / card.value_range, out=levels, dtype=dtype)
        yield rows, columns, levels


class _Input:
    """The network's input, of which windows are made when they are needed."""

    def __init__(self, card: Card, image: NDArray, scale: int, grid: Grid) -> None:
        self.card, self.image, self.scale = card, image, scale
        factor = scale if card.pre_upscaled else 1
        # Which pixel stands at each place of the padded input: beyond the edge, its reflection.
        self._rows, self._columns = (
            np.pad(np.arange(side * factor), (0, whole - side * factor), mode="reflect")
            for side, whole in zip(image.shape[:2], (grid.height, grid.width), strict=True)
        )

    def window(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        """``float32 [1, C, h, w]`` in 0..value_range."""
        wanted_rows, wanted_columns = self._rows[rows], self._columns[columns]
        top, left = wanted_rows.min(), wanted_columns.min()
        part = self._pixels(
            slice(top, wanted_rows.max() + 1), slice(left, wanted_columns.max() + 1)
        )
        if part.shape[:2] != (len(wanted_rows), len(wanted_columns)):
            part = part[wanted_rows - top][:, wanted_columns - left]
        planes = part.transpose(2, 0, 1)[None] * (self.card.value_range / 255.0)
        return np.ascontiguousarray(planes, dtype=np.float32)

    def _pixels(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        if self.card.pre_upscaled:
            size = self.image.shape[:2]
            return imresize_part(self._read, size, self.scale, rows, columns)
        return self._read(rows, columns)

    def _read(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        part = _levels(self.image[rows, columns])
        if self.card.luma_only and part.shape[2] == 3:
            return rgb_to_ycbcr(part)[..., :1]
        if self.card.channels == 4 and part.shape[2] == 3:
            return np.pad(part, ((0, 0), (0, 0), (0, 1)), constant_values=255.0)  # opaque
        return part


def _levels(part: NDArray) -> NDArray[np.float64]:
    """Pixels in 0..255, whatever they are stored in."""
    levels = part.astype(np.float64)
    return levels / 257.0 if part.dtype == np.uint16 else levels


def _joined(parts: Iterator[Part], lr: NDArray, scale: int, dtype: type[np.floating]) -> NDArray:
    """All parts as one array."""
    height, width = lr.shape[0] * scale, lr.shape[1] * scale
    whole = None
    for rows, columns, part in parts:
        if part.shape[:2] == (height, width):
            return part
        if whole is None:
            whole = np.empty((height, width, part.shape[2]), dtype)
        whole[rows, columns] = part
    assert whole is not None, "an image has at least one tile"
    return whole
