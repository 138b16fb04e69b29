"""Folders of pictures as videos, and videos as numbered pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from srdeploy.data.picture import Picture, read_picture
from srdeploy.data.picture_write import format_of, write_picture
from srdeploy.errors import UserError
from srdeploy.video.colour import RGB_MATRIX, Colour
from srdeploy.video.frames import FrameFormat, Planes
from srdeploy.video.layout import Layout, layout_of
from srdeploy.video.read import Frame, Video

SRGB = Colour(RGB_MATRIX, 1, 13, True)
"""What pictures are: BT.709's primaries, sRGB's transfer, full range."""

VIDEO_OF_PICTURES = Colour(1, 1, 13, False)
"""The same, where it becomes luma and chroma: BT.709's matrix, limited range."""

_NUMBER = re.compile(r"%0?(\d*)d")


def open_pictures(name: str, pictures: Sequence[Path], rate: Fraction) -> Video:
    """A video of pictures in their order.

    Args:
        name: For sentences.
        pictures: Files, all of one size.
        rate: Pictures per second.

    Raises:
        UserError: the first cannot be read, or (while they are read) another one, or one of
            another size.
    """
    first = read_picture(pictures[0])
    layout = _rgb_layout(16 if first.pixels.dtype == np.uint16 else 8)
    notes = ["opacity is left out"] if first.alpha is not None else []
    return Video(
        name=name,
        format=FrameFormat.of(layout, SRGB, first.size),
        time_base=1 / rate,
        rate=rate,
        aspect=None,
        codec="pictures",
        pixel_format=layout.name,
        frames_about=len(pictures),
        notes=notes,
        reader=_read(pictures, first.size, layout),
    )


def _read(pictures: Sequence[Path], size: tuple[int, int], layout: Layout) -> Iterator[Frame]:
    for number, path in enumerate(pictures):
        picture = read_picture(path)
        if picture.size != size or picture.pixels.dtype != layout.dtype:
            raise UserError(
                f"'{path}' is {picture.size[1]}x{picture.size[0]} {picture.pixels.dtype}, and "
                f"'{pictures[0]}' is {size[1]}x{size[0]} {layout.dtype}; frames of a video are "
                "alike."
            )
        colour = np.broadcast_to(picture.colour, (*size, 3))
        yield Frame([colour[..., k] for k in range(3)], number, 1)


def _rgb_layout(bits: int) -> Layout:
    layout = layout_of("gbrp" if bits == 8 else "gbrp16le")
    assert layout is not None
    return layout


def is_pattern(path: Path) -> bool:
    """Whether a path names numbered pictures, as ``frames/%06d.png``."""
    return _NUMBER.search(path.name) is not None and format_of(path) is not None


def picture_format(given: FrameFormat, size: tuple[int, int], path: Path) -> FrameFormat:
    """What frames are as pictures: RGB, 16 bits where the video has more than 8 and the file may.

    Args:
        given: Of the video's frames.
        size: Height and width of the pictures.
        path: Their pattern.
    """
    kind = format_of(path)
    wide = given.layout.bits > 8 and kind is not None and kind.sixteen_bits
    return FrameFormat.of(_rgb_layout(16 if wide else 8), SRGB, size)


def numbered(pattern: Path, number: int) -> Path:
    """The file of a frame, counted from 1."""

    def digits(found: re.Match[str]) -> str:
        return str(number).zfill(int(found[1] or 0))

    return pattern.with_name(_NUMBER.sub(digits, pattern.name, count=1))


def write_frame(path: Path, planes: Planes, quality: int) -> None:
    """Write red, green and blue as a picture, whole or not at all."""
    write_picture(
        path,
        Picture(
            np.stack([p.astype(p.dtype.newbyteorder("="), copy=False) for p in planes], axis=2)
        ),
        quality,
    )
