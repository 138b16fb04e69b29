"""One picture through a network: grey, alpha, 16 bits, and a bound on memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize_part
from srdeploy.data.images import to_uint8
from srdeploy.data.picture import Picture
from srdeploy.errors import UserError
from srdeploy.runtime.footprint import bytes_per_pixel, resident
from srdeploy.runtime.pixels import check_scale, plan_image, upscale_parts
from srdeploy.runtime.session import Session
from srdeploy.runtime.tiling import Grid, smallest_tile
from srdeploy.util.memory import available

ROOM = 500_000_000
"""Bytes beyond what the process holds already that may be taken unless told: who trained a network
before in the same notebook holds gigabytes."""

DEFAULT_MEMORY = 2_000_000_000
"""Bytes of memory to stay within unless told (half of what is free, if that is less)."""

_SMALL = 32_000_000  # bytes that a picture may take whatever is held already
_GREY = np.array([0.299, 0.587, 0.114])  # BT.601, for networks that tint grey a little
_AT_ONCE = 1 << 17  # pixels whose hidden colours are replaced in one go
_OUTPUT_BYTES = 4 * 8 * 4  # of one output pixel on its way: float64 RGBA, about four times


class Upscaler:
    """A network, with how much memory it may take.

    Attributes:
        session: The network; stays the caller's to close.
        scale: Output size over input size.
        memory: Bytes that the whole process may hold.
    """

    def __init__(
        self,
        session: Session,
        scale: int | None = None,
        *,
        memory: int | None = None,
        overlap: int | None = None,
    ) -> None:
        """Take a network.

        Args:
            session: The network.
            scale: Default: the network's own.
            memory: Bytes; default: :data:`DEFAULT_MEMORY`, or :data:`ROOM` beyond what the process
                holds already, if that is more; never beyond half of what is free.
            overlap: Of tiles, in network input pixels, instead of what is exact.

        Raises:
            UserError: the network does not serve this scale.
        """
        self.session = session
        self.scale = scale or session.card.scale
        check_scale(session.card, self.scale)
        half = (available() or 2 * DEFAULT_MEMORY) // 2
        room = (resident() or 0) + min(ROOM, half)
        self.memory = memory or max(min(DEFAULT_MEMORY, half), room)
        self._overlap = overlap
        self._cost: float | None = None

    @property
    def room(self) -> float:
        """Bytes that may still be taken; a small picture is never refused."""
        return max(self._left(), _SMALL)

    def _left(self) -> float:
        return self.memory - (resident() or 0)

    def plan(self, size: tuple[int, int], row_bytes: int = 0, extra_bytes: int = 0) -> Grid:
        """How a picture is cut so that memory suffices; the picture itself is held already.

        Args:
            size: Height and width of the picture.
            row_bytes: Of results kept per row of network input.
            extra_bytes: Of what else will be held.

        Raises:
            UserError: the smallest sensible tile does not fit into the memory.
        """
        card, sizes = self.session.card, self.session.sizes
        whole = plan_image(card, size, self.scale, overlap=self._overlap, sizes=sizes)
        # Tiles of this many pixels cost less than the bookkeeping, whatever the network.
        least = smallest_tile(card, self._overlap)
        if whole.height * whole.width <= least**2:
            return whole
        room = self._left() - extra_bytes
        if sizes is not None and sizes.listed:
            if extra_bytes > self.room:
                raise self._too_little(self.memory - room)
            return whole
        pixels, needed = self._pixels(whole, least, room, row_bytes)
        pooling = self.session.pooling if pixels < whole.height * whole.width else None
        if pooling is not None:
            larger = smallest_tile(card, self._overlap, pooling)
            exactly, _ = self._pixels(whole, larger, room, row_bytes)
            pixels, pooling = (exactly, pooling) if exactly else (pixels, None)
        if not pixels:
            raise self._too_little(needed)
        return plan_image(
            card, size, self.scale,
            pixels=pixels, overlap=self._overlap, sizes=sizes, pooling=pooling,
        )  # fmt: skip

    def _pixels(self, whole: Grid, least: int, room: float, row_bytes: int) -> tuple[int, float]:
        """The pixels that a tile may have, at least ``least`` squared (0: so many do not fit), and
        the memory that the smallest takes.
        """
        if self._cost is None:
            self._cost = bytes_per_pixel(self.session)
            self._cost += _OUTPUT_BYTES * self.session.card.network_scale**2
        tallest = min(whole.height, max(least, int(max(room, 0) / self._cost) // whole.width))
        pixels = int((room - tallest * row_bytes) / self._cost)
        needed = self.memory - room + tallest * row_bytes + self._cost * least**2
        fits = pixels >= min(least, whole.height) * min(least, whole.width)
        return pixels if fits else 0, needed

    def _too_little(self, needed: float) -> UserError:
        return UserError(
            f"{_giga(self.memory)} of memory is too little for this picture and network; give "
            f"--memory {_giga(needed * 1.05)} or more (or a smaller --overlap, which is no "
            "longer exact; --format png holds no result)."
        )

    def bands(
        self, picture: Picture, dtype: type | np.dtype, grid: Grid, alpha: bool = True
    ) -> Iterator[NDArray]:
        """The upscaled picture from top to bottom, one row of tiles at a time.

        Args:
            picture: What to upscale.
            dtype: ``uint8`` or ``uint16``.
            grid: From :meth:`plan`.
            alpha: Upscale alpha (bicubically); otherwise it is left out.

        Yields:
            ``[n, W * scale, C]``, C as in the picture.

        Raises:
            SrdeployError: the network returned values that are not finite.
        """
        colour, opacity = picture.colour, picture.alpha
        if opacity is not None:
            colour = with_hidden_filled(colour, opacity)
        grey = colour.shape[2] == 1
        rgb = np.broadcast_to(colour, (*colour.shape[:2], 3))
        width = picture.size[1] * self.scale
        channels = colour.shape[2] + (alpha and opacity is not None)
        band, place = np.empty((0, width, channels), dtype), slice(0, 0)
        for rows, columns, part in upscale_parts(self.session, rgb, self.scale, grid):
            if rows != place:
                if place.stop:
                    yield band
                band, place = np.empty((rows.stop - rows.start, width, channels), dtype), rows
            if alpha and opacity is not None:
                band[:, columns, -1] = _stored(self._alpha(opacity, rows, columns), dtype)
            shown = (part @ _GREY)[..., None] if grey else part
            band[:, columns, : shown.shape[2]] = _stored(shown, dtype)
        yield band

    def _alpha(self, alpha: NDArray, rows: slice, columns: slice) -> NDArray[np.float64]:
        def read(y: slice, x: slice) -> NDArray[np.float64]:
            return alpha[y, x] / (257.0 if alpha.dtype == np.uint16 else 1.0)

        return imresize_part(read, alpha.shape, self.scale, rows, columns)


def upscale_array(
    session: Session, pixels: NDArray, scale: int | None = None, *, memory: int | None = None
) -> NDArray:
    """Upscale a picture held in an array.

    Args:
        session: The network.
        pixels: ``[H, W]`` or ``[H, W, C]``, ``uint8`` or ``uint16``; C is 1 (grey), 2 (grey,
            alpha), 3 (RGB) or 4 (RGB, alpha).
        scale: Default: the network's own.
        memory: Bytes that the process may hold; beyond that, tiles are made.

    Returns:
        The same type and channels, ``scale`` times as large.

    Raises:
        UserError: a scale that the network does not serve, or too little memory.
        ValueError: an array of another shape or type.
    """
    result = upscale_picture(session, picture_of(pixels), scale, memory=memory).pixels
    return result if pixels.ndim == 3 else result[..., 0]


def picture_of(pixels: NDArray) -> Picture:
    """An array as a picture; see :func:`upscale_array`.

    Raises:
        ValueError: an array of another shape or type.
    """
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3) or 0 in pixels.shape:
        raise ValueError(f"upscaling takes uint8 or uint16, got {pixels.dtype} {pixels.shape}")
    if pixels.ndim == 3 and pixels.shape[2] > 4:
        raise ValueError(f"upscaling takes 1 to 4 channels, got {pixels.shape}")
    return Picture(pixels if pixels.ndim == 3 else pixels[..., None])


def upscale_picture(
    session: Session, picture: Picture, scale: int | None = None, *, memory: int | None = None
) -> Picture:
    """Upscale a picture, keeping its bits, channels, profile and EXIF; see :func:`upscale_array`.

    Raises:
        UserError: as :func:`upscale_array`.
    """
    upscaler = Upscaler(session, scale, memory=memory)
    dtype = picture.pixels.dtype
    result = picture.pixels.nbytes * upscaler.scale**2
    grid = upscaler.plan(picture.size, extra_bytes=2 * result + hidden_bytes(picture))
    pixels = np.concatenate(list(upscaler.bands(picture, dtype, grid)))
    return replace(picture, pixels=pixels)


def hidden_bytes(picture: Picture) -> int:
    """Bytes of the copy in which hidden colours are replaced."""
    return 0 if picture.alpha is None else picture.pixels.nbytes


def with_hidden_filled(colour: NDArray, alpha: NDArray, reach: int = 8) -> NDArray:
    """Give fully transparent pixels the colours around them.

    What lies under them is arbitrary (mostly black), and upscaling would let it bleed into the
    visible edge.

    Args:
        colour: ``[H, W, C]``.
        alpha: ``[H, W]``.
        reach: How far into the transparent part, in pixels.
    """
    if (alpha > 0).all() or not alpha.any():
        return colour
    height, width = alpha.shape
    filled = colour.copy()
    step = max(reach, _AT_ONCE // width)
    for top in range(0, height, step):  # a strip depends on what is within reach of it
        first, last = max(top - reach, 0), min(top + step + reach, height)
        known = alpha[first:last] > 0
        strip = _spread(colour[first:last].copy(), known, reach)
        filled[top : top + step] = strip[top - first : top - first + step]
    return filled


def _spread(colour: NDArray, known: NDArray[np.bool_], reach: int) -> NDArray:
    """Grow what is known by so many pixels: each new one is the mean of its known neighbours."""
    height, width = known.shape
    for _ in range(reach):
        near = np.zeros_like(known)
        near[1:] |= known[:-1]
        near[:-1] |= known[1:]
        near[:, 1:] |= known[:, :-1]
        near[:, :-1] |= known[:, 1:]
        y, x = np.nonzero(near & ~known)
        if not len(y):
            break
        total, count = np.zeros((len(y), colour.shape[2])), np.zeros((len(y), 1))
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            there_y, there_x = np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)
            counts = known[there_y, there_x][:, None]
            total += colour[there_y, there_x] * counts
            count += counts
        colour[y, x] = np.rint(total / count)
        known[y, x] = True
    return colour


def _stored(values: NDArray[np.float64], dtype: type | np.dtype) -> NDArray:
    """Levels 0..255 rounded to what is kept."""
    if dtype == np.uint8:
        return to_uint8(values)
    return np.clip(np.floor(values * 257.0 + 0.5), 0, 65535).astype(np.uint16)


def _giga(size: float) -> str:
    return f"{size / 1e9:.2g}GB"
