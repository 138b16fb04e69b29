"""One frame through a network: code values in, code values of a larger frame out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from srdeploy.runtime.pixels import upscale_rgb, upscale_y
from srdeploy.upscaling.image import Upscaler
from srdeploy.video import colour as c
from srdeploy.video.layout import Layout
from srdeploy.video.sites import Grid, chroma_grid, luma_grid, move

Planes = list[NDArray]
"""Y, Cb, Cr (or R, G, B, or Y alone), then opacity: ``[rows, columns]``, as the layout says."""

_BLACK, _SWING = 16.0, 219.0  # of the luma that networks for luma are trained on (BT.601, studio)


@dataclass(frozen=True)
class FrameFormat:
    """What the frames of a video are.

    Attributes:
        layout: How they are stored.
        colour: What their values mean.
        height: In luma samples.
        width: Likewise.
        chroma: Where the chroma samples lie.
        location: FFmpeg's number for that; 0 for untold.
    """

    layout: Layout
    colour: c.Colour
    height: int
    width: int
    chroma: Grid
    location: int = 0

    @classmethod
    def of(
        cls, layout: Layout, colour: c.Colour, size: tuple[int, int], location: int = 0
    ) -> FrameFormat:
        """With the chroma where its location says."""
        return cls(layout, colour, *size, chroma_grid(layout, *size, location), location)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True)
class Turn:
    """A turn by quarters and a flip: what a display matrix asks for, as for ``[rows, columns]``.

    Attributes:
        transposed: First, rows become columns.
        across: Then left and right change places,
        down: and top and bottom.
    """

    transposed: bool = False
    across: bool = False
    down: bool = False

    def planes(self, planes: Planes) -> Planes:
        """The planes, turned (views)."""
        return [
            (plane.T if self.transposed else plane)[
                :: -1 if self.down else 1, :: -1 if self.across else 1
            ]
            for plane in planes
        ]

    def format(self, given: FrameFormat) -> FrameFormat:
        """What turned frames are; the chroma samples go where the turn brings them."""
        layout, (height, width), (rows, columns) = given.layout, given.size, given.chroma
        if self.transposed:
            height, width, rows, columns = width, height, columns, rows
            layout = replace(layout, across=layout.down, down=layout.across)
        rows = rows.flipped(height) if self.down else rows
        columns = columns.flipped(width) if self.across else columns
        return FrameFormat(layout, given.colour, height, width, (rows, columns), given.location)


@dataclass
class Seen:
    """A frame on its way.

    Attributes:
        pixels: What the network sees, luma in 16..235 ``[H, W]`` or RGB in 0..255 ``[H, W, 3]``, or
            what it gave: the same, not clipped.
        around: What it does not see: signals of Cb and Cr where it sees luma, and opacity.
    """

    pixels: NDArray
    around: list[NDArray[np.float32]]


class FrameUpscaler:
    """Frames of one format to frames of another, ``scale`` times as large.

    The three steps of a frame may run in three threads: only :meth:`run` uses the network.

    A network for luma sees the video's own luma, whatever its matrix, and chroma is interpolated
    bicubically from its grid to the result's. Other networks see red, green and blue, made by the
    video's own matrix and range.
    """

    def __init__(self, upscaler: Upscaler, given: FrameFormat, wanted: FrameFormat) -> None:
        """Take a network.

        Args:
            upscaler: The network; stays the caller's to close.
            given: Of the frames.
            wanted: Of the results.

        Raises:
            UserError: the network does not serve this, or there is too little memory.
        """
        self.given, self.wanted, self._upscaler = given, wanted, upscaler
        self.luma = upscaler.session.card.luma_only and given.layout.kind != "gbr"
        if not self.luma or wanted.layout.kind != given.layout.kind:
            c.check_matrix(given.colour)
            c.check_matrix(wanted.colour)
        pixels = wanted.height * wanted.width
        self.tiles = upscaler.plan(given.size, extra_bytes=pixels * _HELD)

    def prepare(self, planes: Planes) -> Seen:
        """What the network sees of a frame."""
        layout, colour = self.given.layout, self.given.colour
        around = [_opacity(planes[-1], layout)] if layout.alpha else []
        if layout.kind == "gbr":
            rgb = np.stack([c.to_unit(plane, layout, colour, False) for plane in planes[:3]])
            return Seen(_image(rgb), around)
        y = c.to_unit(planes[0], layout, colour, False)
        chroma = []
        if layout.kind == "yuv":
            chroma = [c.to_unit(plane, layout, colour, True) for plane in planes[1:3]]
        if self.luma:
            return Seen(_BLACK + _SWING * y, [*chroma, *around])
        if not chroma:
            return Seen(_image(np.stack([y] * 3)), around)
        where = luma_grid(*self.given.size)
        signals = np.stack([y, *(move(plane, self.given.chroma, where) for plane in chroma)])
        return Seen(_image(c.signals_to_rgb(signals, colour)), around)

    def run(self, seen: Seen) -> Seen:
        """The network.

        Raises:
            SrdeployError: it returned values that are not finite.
        """
        upscaler, pixels = self._upscaler, seen.pixels
        upscale = upscale_y if self.luma else upscale_rgb
        large = upscale(upscaler.session, pixels, upscaler.scale, self.tiles, np.float32)
        return Seen(large, seen.around)

    def finish(self, seen: Seen) -> Planes:
        """Code values of what the network gave, and of what was around it."""
        around = list(seen.around)
        opacity = [self._opacity(around.pop())] if self.given.layout.alpha else []
        if self.luma:
            y = (seen.pixels - _BLACK) * np.float32(1 / _SWING)
            stored = _stored(self._around_luma(y, around), self.wanted)
        else:
            rgb = seen.pixels.transpose(2, 0, 1) * np.float32(1 / 255)
            stored = codes_of(rgb, self.wanted)
        return stored + (opacity if self.wanted.layout.alpha else [])

    def _around_luma(
        self, y: NDArray[np.float32], chroma: list[NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        kind = self.wanted.layout.kind
        if kind == "gray":
            return [y]
        grid = self.wanted.chroma if kind == "yuv" else luma_grid(*self.wanted.size)
        shape = grid[0].count, grid[1].count
        moved = [
            move(plane, self.given.chroma, grid, self._upscaler.scale) for plane in chroma
        ] or [np.zeros(shape, np.float32) for _ in range(2)]
        if kind == "yuv":
            return [y, *moved]
        if not chroma:  # grey stays grey, whatever the matrix
            return [y, y.copy(), y.copy()]
        return list(c.signals_to_rgb(np.stack([y, *moved]), self.given.colour))

    def _opacity(self, opacity: NDArray[np.float32]) -> NDArray:
        here, there = luma_grid(*self.given.size), luma_grid(*self.wanted.size)
        moved = move(opacity, here, there, self._upscaler.scale)
        layout = self.wanted.layout
        return c.to_codes(moved, layout, c.as_rgb(self.wanted.colour), False)


def codes_of(rgb: NDArray[np.float32], wanted: FrameFormat) -> Planes:
    """Code values, without opacity, of red, green and blue in 0..1: ``float32 [3, H, W]``."""
    if wanted.layout.kind == "gbr":
        return _stored([plane.copy() for plane in rgb], wanted)
    if wanted.layout.kind == "gray":
        return _stored([c.rgb_to_luma(rgb, wanted.colour)], wanted)
    where = luma_grid(*wanted.size)
    y, *chroma = c.rgb_to_signals(np.ascontiguousarray(rgb), wanted.colour)
    return _stored([y, *(move(plane, where, wanted.chroma) for plane in chroma)], wanted)


def _stored(planes: list[NDArray[np.float32]], wanted: FrameFormat) -> Planes:
    """Signals as code values; changes them."""
    layout = wanted.layout
    return [
        c.to_codes(plane, layout, wanted.colour, chroma=layout.kind == "yuv" and number > 0)
        for number, plane in enumerate(planes)
    ]


_HELD = 200  # bytes per pixel of the result: queues, conversions, and frames that encoders hold


def _image(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    """Signals ``[3, H, W]`` as levels ``[H, W, 3]`` (a view of what it is given, changed)."""
    rgb *= np.float32(255)
    return rgb.transpose(1, 2, 0)


def _opacity(plane: NDArray, layout: Layout) -> NDArray[np.float32]:
    return c.to_unit(plane, layout, c.Colour(c.RGB_MATRIX, c.UNTOLD, c.UNTOLD, True), False)
