"""Frames side by side, each with its label."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from srdeploy.video import colour as c
from srdeploy.video.frames import FrameFormat, Planes

_SHARE = 20  # of the height, for a letter
_SMALLEST = 10  # rows of a letter


def side_by_side(frames: Sequence[Planes], labels: Sequence[str], format: FrameFormat) -> Planes:
    """Frames as one, from left to right, labelled in the upper left corner.

    Args:
        frames: Code values of each.
        labels: Of each.
        format: Of each.

    Returns:
        Code values of a frame as many times as wide. Chroma of a side that is no multiple of the
        chroma's step is a sample short or long at the seams.
    """
    layout, size = format.layout, format.size
    marked = [_marked(f, text, format) for f, text in zip(frames, labels, strict=True)]
    wide = []
    for component in range(len(layout.planes)):
        columns = layout.shape(component, size[0], size[1] * len(frames))[1]
        together = np.concatenate([planes[component] for planes in marked], axis=1)
        wide.append(together[:, :columns])
    return wide


def _marked(planes: Planes, text: str, format: FrameFormat) -> Planes:
    layout = format.layout
    ink = _label(text, format.height, format.width)
    unit = {False: ink, True: np.zeros_like(ink)}
    out = []
    for component, plane in enumerate(planes):
        chroma = layout.kind == "yuv" and component in (1, 2)
        opaque = layout.alpha and component == len(planes) - 1
        values = np.ones_like(ink) if opaque else unit[chroma].copy()
        codes = c.to_codes(values, layout, format.colour, chroma)
        rows, columns = layout.shape(component, *ink.shape)
        marked = plane.copy()
        marked[:rows, :columns] = codes[:rows, :columns]
        out.append(marked)
    return out


@lru_cache(maxsize=32)
def _label(text: str, height: int, width: int) -> NDArray[np.float32]:
    """White letters on black, 0..1, cut to the frame."""
    font = ImageFont.load_default(max(_SMALLEST, height // _SHARE))
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    margin = max(2, (bottom - top) // 3)
    size = right - left + 2 * margin, bottom - top + 2 * margin
    image = Image.new("L", size, 0)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, 255, font)
    return np.asarray(image, np.float32)[:height, :width] / np.float32(255)
