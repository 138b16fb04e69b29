"""Frames to packets: one encoder from its first frame to its last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from srdeploy.errors import SrdeployError, UserError, shown
from srdeploy.video.codecs import Choice
from srdeploy.video.colour import FULL, LIMITED
from srdeploy.video.container import planes_of
from srdeploy.video.frames import FrameFormat, Planes
from srdeploy.video.layout import Layout
from srdeploy.video.library import pyav


@dataclass(frozen=True)
class Packing:
    """Everything that an encoder has to know.

    Attributes:
        choice: The codec and its options.
        format: Of the frames.
        time_base: Seconds to a unit of time.
        rate: Frames per second, on average.
        aspect: Width of a pixel over its height, or None.
    """

    choice: Choice
    format: FrameFormat
    time_base: Fraction
    rate: Fraction
    aspect: Fraction | None = None

    def dress(self, context: Any) -> None:
        """Set a codec context of PyAV that is not open yet."""
        colour = self.format.colour
        context.width, context.height = self.format.width, self.format.height
        context.pix_fmt = self.choice.pixel_format
        context.time_base = self.time_base
        context.framerate = self.rate
        context.sample_aspect_ratio = self.aspect or Fraction(0, 1)
        context.colorspace, context.color_range = colour.matrix, FULL if colour.full else LIMITED
        context.color_primaries, context.color_trc = colour.primaries, colour.transfer
        context.options = dict(self.choice.options)

    def check(self) -> None:
        """See that the encoder takes its options and such frames, before hours of work.

        Raises:
            UserError: it does not.
        """
        try:
            encoder = Encoder(self)
        except SrdeployError as error:
            raise UserError(str(error)) from error
        if encoder.unused:
            raise UserError(
                f"The encoder {self.choice.codec.encoder} has no option '{encoder.unused[0]}'; see "
                f"`ffmpeg -h encoder={self.choice.codec.encoder}`."
            )


@dataclass(frozen=True)
class Packed:
    """A packet, as an encoder gave it.

    Attributes:
        data: Its bytes.
        pts: When its frame is shown.
        duration: How long; 0 for untold.
        key: Decoding can start here.
    """

    data: bytes
    pts: int
    duration: int
    key: bool


class Encoder:
    """Packs frames; what was packed before has no influence.

    Attributes:
        extradata: What decoders need before the first packet.
        unused: Names of options that it does not have.
    """

    def __init__(self, packing: Packing) -> None:
        av = pyav()
        self._packing, self._av = packing, av
        self._durations: dict[int, int] = {}
        self._context = av.CodecContext.create(packing.choice.codec.encoder, "w")
        packing.dress(self._context)
        self._context.flags |= av.codec.context.Flags.global_header
        with encoding(packing.choice):
            self._context.open()
        self.unused = sorted(self._context.options)
        self.extradata = bytes(self._context.extradata or b"")

    def add(self, planes: Planes, pts: int, duration: int = 0) -> list[Packed]:
        """Take a frame; returns the packets that are ready."""
        frame = frame_of(planes, self._packing)
        frame.pts, frame.time_base = pts, self._packing.time_base
        frame.duration = duration
        self._durations[pts] = duration
        with encoding(self._packing.choice):
            return self._packed(self._context.encode(frame))

    def finish(self) -> list[Packed]:
        """The packets that are left; nothing can be added then."""
        with encoding(self._packing.choice):
            return self._packed(self._context.encode(None))

    def _packed(self, packets: Any) -> list[Packed]:
        return [
            Packed(bytes(one), one.pts, self._durations.pop(one.pts, 0), one.is_keyframe)
            for one in packets
        ]


def frame_of(planes: Planes, packing: Packing) -> Any:
    """A frame of PyAV with these code values."""
    layout, size = packing.choice.layout, packing.format.size
    frame = filled(planes, layout, size, packing.choice.pixel_format)
    colour = packing.format.colour
    frame.colorspace, frame.color_range = colour.matrix, FULL if colour.full else LIMITED
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def filled(planes: Planes, layout: Layout, size: tuple[int, int], name: str) -> Any:
    """A frame of PyAV in a pixel format that holds the values of a layout, if otherwise packed."""
    frame = pyav().VideoFrame(size[1], size[0], layout.name)
    for values, there in zip(planes, planes_of(frame, layout), strict=True):
        np.copyto(there, values)
    return frame if name == layout.name else frame.reformat(format=name)


@contextmanager
def encoding(choice: Choice) -> Iterator[None]:
    """FFmpeg's errors as one sentence."""
    try:
        yield
    except (pyav().error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.filename:  # a file, which others explain
            raise
        reason = shown(getattr(error, "strerror", None) or error)
        raise SrdeployError(
            f"The encoder {choice} failed ({reason}); choose another --codec, or leave its options "
            "out."
        ) from error
