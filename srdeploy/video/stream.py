"""Frames to standard output: YUV4MPEG2, or as bare as they came."""

from __future__ import annotations

from fractions import Fraction
from typing import BinaryIO

from srdeploy.errors import UserError
from srdeploy.video.container import RawFrames
from srdeploy.video.encode import filled
from srdeploy.video.frames import FrameFormat, Planes
from srdeploy.video.layout import Layout, nearest, without_range
from srdeploy.video.library import pyav
from srdeploy.video.read import Video
from srdeploy.video.sites import CENTRE, TOP_LEFT

_CHROMA = {(2, 2): "420", (2, 1): "422", (1, 1): "444", (4, 1): "411"}
_SITES = {CENTRE: "jpeg", TOP_LEFT: "paldv"}
_DEEP = (9, 10, 12, 14, 16)
Y4M = [
    *("gray", "yuv420p", "yuv422p", "yuv444p", "yuv411p"),
    *(f"yuv{chroma}p{bits}le" for chroma in ("420", "422", "444") for bits in _DEEP),
    *(f"gray{bits}le" for bits in _DEEP if bits != 14),
]
"""The pixel formats that YUV4MPEG2 has names for."""


class Y4mWriter:
    """YUV4MPEG2: a line on what the frames are, then each frame with a line before it."""

    def __init__(self, stream: BinaryIO, format: FrameFormat, video: Video) -> None:
        self._stream = stream
        rate, aspect = video.rate or Fraction(25), video.aspect or Fraction(0)
        words = [
            "YUV4MPEG2",
            f"W{format.width}",
            f"H{format.height}",
            f"F{rate.numerator}:{rate.denominator}",
            "Ip",
            f"A{aspect.numerator}:{aspect.denominator if aspect else 0}",
            f"C{_colour_word(format)}",
            f"XCOLORRANGE={'FULL' if format.colour.full else 'LIMITED'}",
        ]
        stream.write(" ".join(words).encode() + b"\n")

    @staticmethod
    def layout(given: Layout) -> Layout:
        """What of its formats keeps most of a layout."""
        found = nearest(without_range(given), Y4M)
        assert found is not None, "there is one for everything"
        return found[0]

    def write(self, planes: Planes) -> None:
        """A frame."""
        self._stream.write(b"FRAME\n")
        for plane in planes:
            self._stream.write(plane.tobytes())


class RawWriter:
    """Frames and nothing else, in the pixel format in which they came."""

    def __init__(self, stream: BinaryIO, format: FrameFormat, raw: RawFrames) -> None:
        self._stream, self._format, self._name = stream, format, raw.pixel_format
        av = pyav()
        self._context = av.CodecContext.create("rawvideo", "w")
        self._context.width, self._context.height = format.width, format.height
        self._context.pix_fmt, self._context.time_base = raw.pixel_format, Fraction(1, 25)

    def write(self, planes: Planes) -> None:
        """A frame."""
        format = self._format
        frame = filled(planes, format.layout, format.size, self._name)
        for packet in self._context.encode(frame):
            self._stream.write(bytes(packet))


def _colour_word(format: FrameFormat) -> str:
    layout = format.layout
    if layout.kind == "gray":
        return "mono" if layout.bits == 8 else f"mono{layout.bits}"
    chroma = _CHROMA.get((layout.across, layout.down))
    if chroma is None:
        raise UserError(f"YUV4MPEG2 has no word for {layout.name}; write a file instead of -.")
    if layout.bits > 8:
        return f"{chroma}p{layout.bits}"
    return chroma + (_SITES.get(format.location, "mpeg2") if chroma == "420" else "")
