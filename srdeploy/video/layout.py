"""How the pixels of a video are stored: FFmpeg's pixel formats as planes of one component each."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from srdeploy.errors import UserError

_CHROMA = {"420": (2, 2), "422": (2, 1), "444": (1, 1), "440": (1, 2), "411": (4, 1), "410": (4, 4)}
"""By FFmpeg's digits: luma samples to a chroma sample, across and down."""

_PLANAR = re.compile(
    r"(?P<kind>gray|gbr|yuv)(?P<variant>[aj]?)(?P<chroma>4[0-4][0-4])?p?(?P<bits>9|1[0-6])?(le)?"
)

# The same values, packed otherwise: no format here loses anything in its planar form.
_REPACKED = {
    "nv12": "yuv420p",
    "nv21": "yuv420p",
    "nv16": "yuv422p",
    "nv24": "yuv444p",
    "nv42": "yuv444p",
    "yuyv422": "yuv422p",
    "uyvy422": "yuv422p",
    "yvyu422": "yuv422p",
    "p010le": "yuv420p10le",
    "p012le": "yuv420p12le",
    "p016le": "yuv420p16le",
    "p210le": "yuv422p10le",
    "p212le": "yuv422p12le",
    "p216le": "yuv422p16le",
    "p410le": "yuv444p10le",
    "p412le": "yuv444p12le",
    "p416le": "yuv444p16le",
    "y210le": "yuv422p10le",
    "y212le": "yuv422p12le",
    "monow": "gray",
    "monob": "gray",
    "pal8": "gbrp",
    "rgb24": "gbrp",
    "bgr24": "gbrp",
    "rgb0": "gbrp",
    "bgr0": "gbrp",
    "0rgb": "gbrp",
    "0bgr": "gbrp",
    "rgba": "gbrap",
    "bgra": "gbrap",
    "argb": "gbrap",
    "abgr": "gbrap",
    "rgb48le": "gbrp16le",
    "bgr48le": "gbrp16le",
    "rgba64le": "gbrap16le",
    "bgra64le": "gbrap16le",
}


@dataclass(frozen=True)
class Layout:
    """A planar pixel format.

    Attributes:
        name: FFmpeg's.
        kind: ``yuv``, ``gbr`` (red, green and blue) or ``gray``.
        bits: Of a value, 8 to 16.
        across: Luma columns to a chroma column.
        down: Luma rows to a chroma row.
        alpha: The last plane is opacity.
        full: The name itself says that the range is full (``yuvj``).
    """

    name: str
    kind: str
    bits: int
    across: int = 1
    down: int = 1
    alpha: bool = False
    full: bool = False

    @property
    def dtype(self) -> np.dtype:
        """Of a plane's values."""
        return np.dtype(np.uint8 if self.bits == 8 else "<u2")

    @property
    def planes(self) -> tuple[int, ...]:
        """The frame's plane of each component: Y, Cb, Cr (or R, G, B, or Y alone), then opacity."""
        order = {"yuv": (0, 1, 2), "gbr": (2, 0, 1), "gray": (0,)}[self.kind]
        return (*order, len(order)) if self.alpha else order

    def shape(self, component: int, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of a component's plane in a frame of this height and width."""
        if self.kind == "yuv" and component in (1, 2):
            return -(-height // self.down), -(-width // self.across)
        return height, width

    def frame_bytes(self, height: int, width: int) -> int:
        """Of a whole frame."""
        values = 0
        for component in range(len(self.planes)):
            rows, columns = self.shape(component, height, width)
            values += rows * columns
        return values * self.dtype.itemsize


def layout_of(name: str) -> Layout | None:
    """The layout of a planar pixel format by FFmpeg's name; None for any other."""
    found = _PLANAR.fullmatch(name)
    if found is None:
        return None
    kind, variant, chroma = found["kind"], found["variant"], found["chroma"]
    if (kind == "yuv") != (chroma is not None) or (variant == "j" and kind != "yuv"):
        return None
    if (kind == "gray") != ("p" not in name) or (kind == "gray" and variant):
        return None
    if chroma is not None and chroma not in _CHROMA:
        return None
    across, down = _CHROMA[chroma] if chroma else (1, 1)
    bits = int(found["bits"] or 8)
    if (bits > 8) != name.endswith("le"):  # big-endian formats, and what is no format
        return None
    return Layout(name, kind, bits, across, down, variant == "a", variant == "j")


def planar(name: str) -> Layout:
    """The planar layout that holds the values of any pixel format unchanged.

    Raises:
        UserError: there is none.
    """
    layout = layout_of(_REPACKED.get(name, name))
    if layout is None and name.endswith("be"):  # the other order of bytes
        layout = layout_of(_REPACKED.get(f"{name[:-2]}le", f"{name[:-2]}le"))
    if layout is None:
        raise UserError(
            f"The pixel format {name} is not read; convert the video first, for instance with "
            "`ffmpeg -i IN -pix_fmt yuv444p -c:v ffv1 OUT.mkv`."
        )
    return layout


def nearest(wanted: Layout, names: list[str]) -> tuple[Layout, str] | None:
    """Of pixel formats, the one that keeps most of a layout, and of those the smallest.

    Bits come first, then colour, the grid of the chroma and opacity.

    Args:
        wanted: The layout.
        names: FFmpeg's names of what there is.

    Returns:
        The planar layout of its values, and its name; None if there is none.
    """
    there = [
        (layout, name)
        for name in names
        if (layout := layout_of(_REPACKED.get(name, name))) and not layout.full
    ]

    def loss(one: tuple[Layout, str]) -> tuple[int, ...]:
        """What is lost, the dearest first; then what is wasted."""
        other, name = one
        return (
            other.kind == "gray" and wanted.kind != "gray",
            max(0, wanted.bits - other.bits),
            other.kind != wanted.kind,
            max(0, other.across - wanted.across) + max(0, other.down - wanted.down),
            wanted.alpha and not other.alpha,
            other.alpha and not wanted.alpha,
            other.bits - wanted.bits,
            wanted.across * wanted.down - other.across * other.down,
            name != other.name,
        )

    return min(there, key=loss, default=None)


def without_range(layout: Layout) -> Layout:
    """The same without the range in its name: results tell it in their tags."""
    return layout_of(layout.name.replace("yuvj", "yuv")) or layout
