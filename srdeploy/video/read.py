"""Videos as frames: of files and pipes, with everything that the result has to keep."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from srdeploy.errors import UserError
from srdeploy.video.colour import told
from srdeploy.video.container import (
    MAX_PIXELS,
    RawFrames,
    chosen_video,
    named,
    opened_file,
    planes_of,
    reading,
)
from srdeploy.video.frames import FrameFormat, Planes, Turn
from srdeploy.video.hdr import hdr10_words
from srdeploy.video.layout import planar
from srdeploy.video.library import pyav
from srdeploy.video.sites import CENTRE

_CENTRED = ("mjpeg", "mpeg1video")  # codecs whose chroma lies between the luma samples
_UNORDERED = ("avi",)
_DECLARED = ("mov", "matroska", "avi", "asf", "flv", "nut", "mxf")  # headers tell the duration
_SHORT = Fraction(3, 2)  # seconds that may be missing before a file counts as cut off

_LOST = {
    "DYNAMIC_HDR_PLUS": "dynamic metadata (HDR10+)",
    "DOVI_RPU_BUFFER": "Dolby Vision's metadata",
    "DOVI_METADATA": "Dolby Vision's metadata",
    "A53_CC": "closed captions inside the frames",
    "STEREO3D": "the note that it is stereoscopic",
    "SPHERICAL": "the note that it is spherical",
}
"""What belongs to frames and is not written again."""


@dataclass(frozen=True)
class Frame:
    """A frame and when it is shown.

    Attributes:
        planes: Its code values.
        pts: When, in the video's time base.
        duration: How long, likewise; 0 for untold.
    """

    planes: Planes
    pts: int
    duration: int


@dataclass
class Video:
    """A video that is open.

    Attributes:
        name: For sentences.
        format: Of its frames, upright.
        time_base: Seconds to a unit of time.
        rate: Frames per second, on average; None for unknown.
        aspect: Width of a pixel over its height, or None.
        codec: FFmpeg's name of how it is packed.
        pixel_format: Likewise of its pixels.
        frames_about: How many there will be, as far as its header tells.
        hdr10: Static metadata, in x265's words.
        notes: What reading changed or left out, in sentences.
        damage: What could not be read, in a sentence; empty for nothing.
    """

    name: str
    format: FrameFormat
    time_base: Fraction
    rate: Fraction | None
    aspect: Fraction | None
    codec: str
    pixel_format: str
    frames_about: int | None
    hdr10: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    damage: str = ""
    reader: Iterator[Frame] = field(default_factory=lambda: iter(()))

    def frames(self) -> Iterator[Frame]:
        """The frames, once, in the order in which they are shown."""
        return self.reader


@contextmanager
def open_video(
    source: str | Path, raw: RawFrames | None = None, matrix: int | None = None
) -> Iterator[Video]:
    """Open a video and decode its first frame.

    Args:
        source: A file; or ``-``, which is standard input.
        raw: What its frames are, where they have no header.
        matrix: H.273's number of the matrix coefficients, instead of what the video tells.

    Raises:
        UserError: there is no such file, it is no video, has no video in it, or frames of a kind
            that is not read; PyAV is missing.
    """
    with opened_file(source, raw) as container:
        yield _Reader(container, named(source), matrix).video


class _Reader:
    """Turns packets into frames."""

    def __init__(self, container: Any, name: str, matrix: int | None) -> None:
        self._matrix = matrix
        self._av, self._container, self._name = pyav(), container, name
        self._stream = chosen_video(container, name)
        context = self._stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise UserError(
                f"{name} has frames of {context.width}x{context.height} pixels, and "
                f"{MAX_PIXELS >> 20} million are the most; is it a video?"
            )
        context.thread_type = "AUTO"
        context.options = {"max_pixels": str(MAX_PIXELS)}
        # Containers of the time before B-frames count packets, not frames as they are shown.
        self._stamps = deque[int]() if container.format.name in _UNORDERED else None
        self._unread = self._moved = self._damaged = 0
        self._ended = Fraction(0)
        decoded = self._decoded()
        with reading(name):
            first = next(decoded, None)
        if first is None:
            raise UserError(f"{name} holds no frame that can be decoded; is it complete?")
        self._first = first.width, first.height, first.format.name
        self._layout = planar(first.format.name)
        self.video = self._described(first)
        self.video.reader = self._frames(first, decoded)

    def _described(self, first: Any) -> Video:
        stream, context = self._stream, self._stream.codec_context
        matrix, range_ = self._matrix or int(first.colorspace), int(first.color_range)
        notes = []
        colour, told_by_rule = told(
            self._layout,
            (first.height, first.width),
            matrix,
            int(first.color_primaries),
            int(first.color_trc),
            range_,
        )
        self._turn = Turn()
        sides = {}
        try:
            sides = {one.type.name: one for one in first.side_data}
        except ValueError:  # PyAV fails at all of them where it does not know the kind of one
            notes.append("what its frames carry besides pixels is not read by this PyAV")
        if "DISPLAYMATRIX" in sides:
            self._turn, note = _turn_of(sides["DISPLAYMATRIX"])
            notes += [note] if note else []
        if told_by_rule:
            notes.append(told_by_rule)
        if first.interlaced_frame:
            notes.append(
                "the video is interlaced, and each frame is upscaled as one picture: deinterlace "
                "it first (`ffmpeg -i IN -vf bwdif OUT`) if lines show"
            )
        lost = dict.fromkeys(text for key, text in _LOST.items() if key in sides)
        if lost:
            notes.append(f"not kept: {', '.join(lost)}")
        location = CENTRE if context.name in _CENTRED else 0
        size = first.height, first.width
        straight = FrameFormat.of(self._layout, colour, size, location)
        aspect = _fraction(stream.sample_aspect_ratio or context.sample_aspect_ratio)
        rate = _fraction(stream.average_rate) or _fraction(stream.guessed_rate)
        if aspect is not None and self._turn.transposed:
            aspect = 1 / aspect
        return Video(
            name=self._name,
            format=self._turn.format(straight),
            time_base=Fraction(stream.time_base),
            rate=rate,
            aspect=aspect,
            codec=context.name,
            pixel_format=first.format.name,
            frames_about=self._about(rate),
            hdr10=hdr10_words({key: bytes(one) for key, one in sides.items()}),
            notes=notes,
        )

    def _about(self, rate: Fraction | None) -> int | None:
        stream = self._stream
        if stream.frames:
            return int(stream.frames)
        seconds = None
        if stream.duration:
            seconds = stream.duration * Fraction(stream.time_base)
        elif self._container.duration:
            seconds = Fraction(self._container.duration, self._av.time_base)
        if seconds is None or rate is None:
            return None
        return max(1, round(seconds * rate))

    def _frames(self, first: Any, decoded: Iterator[Any]) -> Iterator[Frame]:
        last: int | None = None
        step = self._step()
        number, frame = 0, first
        while frame is not None:
            if (frame.width, frame.height, frame.format.name) != self._first:
                width, height, name = self._first
                raise UserError(
                    f"Frame {number} of {self._name} is {frame.width}x{frame.height} "
                    f"{frame.format.name}, and those before are {width}x{height} {name}; cut the "
                    "video there and upscale the parts."
                )
            pts = self._time(frame)
            if pts is None or (last is not None and pts <= last):
                self._moved += last is not None and pts is not None
                pts = 0 if last is None else last + (step if pts is None else 1)
            last = pts
            yield Frame(self._planes(frame), pts, int(frame.duration or 0))
            number += 1
            frame = next(decoded, None)
        self._finished(number)

    def _planes(self, frame: Any) -> Planes:
        """The code values, upright; they belong to the frame."""
        return self._turn.planes(planes_of(frame, self._layout))

    def _time(self, frame: Any) -> int | None:
        if self._stamps is not None:
            return self._stamps.popleft() if self._stamps else None
        return frame.pts if frame.pts is not None else frame.dts

    def _step(self) -> int:
        """A frame's time where none is told."""
        rate = _fraction(self._stream.average_rate) or Fraction(25)
        return max(1, round(1 / rate / Fraction(self._stream.time_base)))

    def _decoded(self) -> Iterator[Any]:
        """Frames as they come, until the file ends or cannot be read any further."""
        errors = self._av.error
        packets = self._container.demux()
        while True:
            try:
                packet = next(packets, None)
            except (errors.InvalidDataError, errors.EOFError):
                self._unread += 1
                packet = None
            if packet is None:
                break
            if packet.dts is not None and packet.time_base is not None:
                end = (packet.dts + (packet.duration or 0)) * Fraction(packet.time_base)
                self._ended = max(self._ended, end)
            if packet.stream_index != self._stream.index:
                continue
            if self._stamps is not None and packet.size and packet.dts is not None:
                self._stamps.append(packet.dts)
            yield from self._of_packet(packet)
        if self._unread:
            yield from self._of_packet(None)

    def _of_packet(self, packet: Any) -> Iterator[Any]:
        errors = self._av.error
        try:
            frames = self._stream.codec_context.decode(packet)
        except errors.EOFError:
            return
        except errors.InvalidDataError:
            self._damaged += 1
            return
        for frame in frames:
            self._damaged += bool(frame.is_corrupt)
            if frame.format.name != self._layout_name(frame):
                frame = frame.reformat(format=self._layout_name(frame))
            yield frame

    def _layout_name(self, frame: Any) -> str:
        name = planar(frame.format.name).name
        return str(name)

    def _finished(self, frames: int) -> None:
        video = self.video
        if self._moved:
            video.notes.append(
                f"{self._moved} frames were not later than the one before; each is a unit of time "
                "later now"
            )
        damage = []
        kind = self._container.format.name.split(",")[0]
        if self._container.duration and kind in _DECLARED:
            begun = Fraction(self._container.start_time or 0, self._av.time_base)
            missing = begun + Fraction(self._container.duration, self._av.time_base) - self._ended
            if missing > _SHORT:
                damage.append(f"it ends {float(missing):.1f} s before its header says")
        if self._unread and not damage:
            damage.append("it breaks off")
        if self._damaged:
            damage.append(f"{self._damaged} packets or frames of it are damaged")
        if damage:
            video.damage = (
                f"{self._name} is not complete: {' and '.join(damage)}; the result holds the "
                f"{frames} frames that could be read."
            )


def _turn_of(side: Any) -> tuple[Turn, str]:
    """The turn that a display matrix asks for, and what was done, in a sentence.

    The matrix (ISO/IEC 14496-12, 6.2.2) takes column p and row q to a p + c q and b p + d q.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(side)[:36])
    if b == c == 0 and a and d:
        turn = Turn(False, a < 0, d < 0)
    elif a == d == 0 and b and c:
        turn = Turn(True, c < 0, b < 0)
    else:
        return Turn(), "its display matrix is no turn by quarters, and is left out"
    note = "turned as its display matrix says, so that no player turns it again"
    return turn, note if turn != Turn() else ""


def _fraction(value: Any) -> Fraction | None:
    """A rational of FFmpeg; None where it is 0, or nothing."""
    return Fraction(value) if value else None
