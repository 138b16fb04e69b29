"""Drawing a side-by-side: labelled panels of one region, and where it lies in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_PANEL_WIDTH = 480  # about, for a panel on screen
_MARGIN = 16
_MOST_IN_A_ROW = 4
_HEADER = 58
_FOOTER = 40
_CAPTION = 34
_PAPER, _INK, _FAINT, _MARK = (250, 250, 248), (28, 30, 34), (110, 114, 120), (214, 54, 44)


@dataclass(frozen=True)
class Panel:
    """One version of the region.

    Attributes:
        label: What it is: ``bicubic``, ``dense``, ``pruned``, ``HR``.
        name: The file behind it.
        pixels: ``uint8 [h, w, 3]``.
        text: Below it.
        figures: The numbers in the text, for programs.
    """

    label: str
    name: str
    pixels: NDArray[np.uint8]
    text: str
    figures: dict[str, float] = field(default_factory=dict)


def draw_sheet(
    panels: Sequence[Panel],
    picture: NDArray[np.uint8],
    region: tuple[slice, slice],
    caption: str,
) -> Image.Image:
    """The whole picture with a frame in it, then the panels, enlarged pixel by pixel.

    Args:
        panels: In their order.
        picture: The whole result ``uint8 [H, W, 3]``.
        region: What the panels show of it.
        caption: One line below everything.
    """
    height, width = panels[0].pixels.shape[:2]
    zoom = max(1, round(_PANEL_WIDTH / width))
    tall, wide = height * zoom, width * zoom
    count = len(panels) + 1
    in_a_row = count if count <= _MOST_IN_A_ROW else -(-count // 2)
    rows = -(-count // in_a_row)
    cell = _HEADER + tall + _FOOTER
    sheet = Image.new(
        "RGB", (in_a_row * (wide + _MARGIN) + _MARGIN, rows * cell + _CAPTION), _PAPER
    )
    draw = ImageDraw.Draw(sheet)
    place = f"{width}x{height} pixels at ({region[1].start}, {region[0].start})"
    where = _overview(picture, region, tall, wide)
    cells = [("where", place, "", where)]
    for panel in panels:
        enlarged = Image.fromarray(np.ascontiguousarray(panel.pixels))
        enlarged = enlarged.resize((wide, tall), Image.Resampling.NEAREST)
        cells.append((panel.label, panel.name, panel.text, enlarged))
    for number, (label, name, text, image) in enumerate(cells):
        left = _MARGIN + number % in_a_row * (wide + _MARGIN)
        top = number // in_a_row * cell
        _words(draw, left, top, label, name, wide)
        sheet.paste(image, (left, top + _HEADER))
        draw.text((left, top + _HEADER + tall + 9), text, _INK, ImageFont.load_default(20))
    draw.text((_MARGIN, rows * cell + 2), caption, _FAINT, ImageFont.load_default(16))
    return sheet


def _words(
    draw: ImageDraw.ImageDraw, left: int, top: int, label: str, name: str, width: int
) -> None:
    draw.text((left, top + 6), label, _INK, ImageFont.load_default(24))
    small = ImageFont.load_default(15)
    while name and draw.textlength(name, small) > width:
        name = name[1:] if len(name) < 3 else "…" + name[2:]
    draw.text((left, top + 35), name, _FAINT, small)


def _overview(
    picture: NDArray[np.uint8], region: tuple[slice, slice], tall: int, wide: int
) -> Image.Image:
    """The whole picture as high as the panels (or narrower), with the region framed."""
    height, width = picture.shape[:2]
    scale = min(tall / height, wide / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    step = max(1, int(1 / scale) // 2)  # large pictures are thinned out before they are filtered
    thinned = Image.fromarray(np.ascontiguousarray(picture[::step, ::step]))
    small = thinned.resize(size, Image.Resampling.LANCZOS)
    rows, columns = region
    left, top, right, bottom = (
        round(n * scale) for n in (columns.start, rows.start, columns.stop, rows.stop)
    )
    right, bottom = max(right, left + 1), max(bottom, top + 1)  # of a panorama a region is a dot
    draw = ImageDraw.Draw(small)
    draw.rectangle((left - 1, top - 1, right, bottom), outline=(255, 255, 255), width=4)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=_MARK, width=2)
    return small
