"""Code values of a video to colours and back: matrices and ranges as ITU-T H.273 defines them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.video.layout import Layout
from srdeploy.video.product import product

UNTOLD = 2
"""The number that means "not specified" in H.273's tables."""

MATRICES: dict[int, tuple[str, float, float]] = {
    1: ("bt709", 0.2126, 0.0722),
    4: ("fcc", 0.30, 0.11),
    5: ("bt470bg", 0.299, 0.114),
    6: ("smpte170m", 0.299, 0.114),
    7: ("smpte240m", 0.212, 0.087),
    9: ("bt2020nc", 0.2627, 0.0593),
}
"""By number (H.273, table 4): name, and the shares of red and blue in luma."""

NAMED = {"bt601": 6, "bt709": 1, "bt2020": 9}
"""What ``--matrix`` takes."""

RGB_MATRIX = 0
"""The number of "no matrix": red, green and blue themselves."""

LIMITED, FULL = 1, 2
"""Ranges, by FFmpeg's numbers."""

_HD = (720, 1280)  # rows or columns from which on untagged video is taken for HD


@dataclass(frozen=True)
class Colour:
    """What code values mean.

    Attributes:
        matrix: Number of the matrix coefficients (H.273, table 4),
        primaries: of the colour primaries (table 2),
        transfer: and of the transfer characteristics (table 3).
        full: Values fill the range of their bits; otherwise black and white are 16 and 235 (times
            a power of two).
    """

    matrix: int
    primaries: int
    transfer: int
    full: bool

    def __str__(self) -> str:
        """As people say it: ``bt709, limited range``."""
        name = "rgb" if self.matrix == RGB_MATRIX else MATRICES.get(self.matrix, ("",))[0]
        return f"{name or f'matrix {self.matrix}'}, {'full' if self.full else 'limited'} range"


def told(
    layout: Layout, size: tuple[int, int], matrix: int, primaries: int, transfer: int, range_: int
) -> tuple[Colour, str]:
    """The colours of a video, where it does not tell them by the usual rule.

    The rule: RGB is full range, other video is limited; from 1280 columns or 720 rows on the matrix
    is BT.709's, below it is BT.601's.

    Args:
        layout: Of its frames.
        size: Height and width.
        matrix: As the video tells it, by H.273's number (2: untold),
        primaries: likewise,
        transfer: likewise.
        range_: By FFmpeg's number (0: untold).

    Returns:
        The colours, and a sentence on what the rule decided, empty if nothing.
    """
    full = layout.full or layout.kind == "gbr" if range_ not in (LIMITED, FULL) else range_ == FULL
    if layout.kind == "gbr":
        return Colour(RGB_MATRIX, primaries, transfer, full), ""
    missing = [
        name
        for name, untold in (
            ("matrix", matrix in (UNTOLD, RGB_MATRIX)),
            ("range", range_ not in (LIMITED, FULL) and not layout.full),
        )
        if untold
    ]
    high = size[0] >= _HD[0] or size[1] >= _HD[1]
    if "matrix" in missing:
        if primaries == 9:
            matrix = 9
        else:
            matrix = 1 if high else (5 if size[0] in (576, 288) else 6)
    if primaries == UNTOLD:
        primaries = {1: 1, 5: 5, 6: 6, 7: 7, 9: 9}.get(matrix, UNTOLD)
    if transfer == UNTOLD:
        transfer = {1: 1, 5: 6, 6: 6, 7: 7, 9: 14}.get(matrix, UNTOLD)
    colour = Colour(matrix, primaries, transfer, full)
    if not missing:
        return colour, ""
    what = " and ".join(missing)
    return colour, (
        f"the video does not tell its {what}: taken for {colour}, as is usual for "
        f"{'HD' if high else 'SD'}, and the result says so (--matrix means another)"
    )


def as_rgb(colour: Colour, full: bool = True) -> Colour:
    """The same colours as red, green and blue."""
    return replace(colour, matrix=RGB_MATRIX, full=full)


def check_matrix(colour: Colour) -> None:
    """Raise UserError unless colours can be computed from luma and chroma by a matrix we know."""
    if colour.matrix != RGB_MATRIX and colour.matrix not in MATRICES:
        raise UserError(
            f"Networks for colour need red, green and blue, which H.273's matrix {colour.matrix} "
            "(constant luminance, YCgCo or ICtCp) does not give here; convert the video to bt709 "
            "or bt2020nc first, or use a network for luma."
        )


def to_unit(codes: NDArray, layout: Layout, colour: Colour, chroma: bool) -> NDArray[np.float32]:
    """Code values as the signals E' of H.273: 0..1, chroma -0.5..0.5; ``float32``, not clipped."""
    offset, gain = _offset_and_gain(layout, colour, chroma)
    out = codes.astype(np.float32)
    out -= np.float32(offset)
    out *= np.float32(1 / gain)
    return out


def to_codes(
    unit: NDArray[np.float32], layout: Layout, colour: Colour, chroma: bool
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The inverse of :func:`to_unit`: rounded, halves up, and clipped to the bits. Changes
    ``unit``.
    """
    offset, gain = _offset_and_gain(layout, colour, chroma)
    unit *= np.float32(gain)
    unit += np.float32(offset + 0.5)
    np.clip(unit, 0, (1 << layout.bits) - 1, out=unit)
    return unit.astype(layout.dtype)  # the fraction is cut off, which floors what is not negative


def rgb_to_signals(rgb: NDArray[np.float32], colour: Colour) -> NDArray[np.float32]:
    """Y, Cb and Cr ``float32 [3, H, W]`` of R, G and B (H.273, equations 38 to 40)."""
    return _mixed(_from_rgb(colour), rgb)


def signals_to_rgb(signals: NDArray[np.float32], colour: Colour) -> NDArray[np.float32]:
    """The inverse of :func:`rgb_to_signals`."""
    return _mixed(np.linalg.inv(_from_rgb(colour)), signals)


def rgb_to_luma(rgb: NDArray[np.float32], colour: Colour) -> NDArray[np.float32]:
    """Y ``float32 [H, W]`` of R, G and B ``[3, H, W]``."""
    return _mixed(_from_rgb(colour)[:1], rgb)[0]


def _from_rgb(colour: Colour) -> NDArray[np.float64]:
    """Rows Y, Cb, Cr for R, G, B."""
    _, red, blue = MATRICES[colour.matrix]
    luma = np.array([red, 1 - red - blue, blue])
    to_blue, to_red = np.array([0, 0, 1]) - luma, np.array([1, 0, 0]) - luma
    return np.stack([luma, to_blue / (2 * (1 - blue)), to_red / (2 * (1 - red))])


def _mixed(matrix: NDArray[np.floating], planes: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = planes.reshape(3, -1)
    mixed = np.empty((len(matrix), flat.shape[1]), np.float32)
    product(matrix.astype(np.float32), flat, mixed)
    return mixed.reshape(len(matrix), *planes.shape[1:])


def _offset_and_gain(layout: Layout, colour: Colour, chroma: bool) -> tuple[float, float]:
    """The code value of signal 0, and how many a signal of 1 is above it (H.273, 20 to 34)."""
    if colour.full:
        return float(1 << (layout.bits - 1)) if chroma else 0.0, float((1 << layout.bits) - 1)
    step = float(1 << (layout.bits - 8))
    return (128 * step, 224 * step) if chroma else (16 * step, 219 * step)
