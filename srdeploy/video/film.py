"""A short video that is upscaled again and again: how fast that goes from decoding to encoding."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.upscaling.image import Upscaler
from srdeploy.video.codecs import choose
from srdeploy.video.encode import Encoder, Packing, frame_of
from srdeploy.video.frames import FrameFormat, FrameUpscaler, Planes, Seen, codes_of
from srdeploy.video.layout import planar
from srdeploy.video.library import pyav
from srdeploy.video.overlap import overlap
from srdeploy.video.read import open_video
from srdeploy.video.stills import VIDEO_OF_PICTURES

_FRAMES = 48
_STEP = 2  # pixels that the picture moves from frame to frame
_LEAST = 3  # frames of a run


def write_film(path: Path, picture: NDArray[np.uint8], rate: float) -> None:
    """Write a video in which a picture moves: H.264, 4:2:0, BT.709.

    Args:
        path: The file, ``.mkv``.
        picture: ``uint8 [H, W, 3]``.
        rate: Frames per second.

    Raises:
        UserError: PyAV is missing.
    """
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    format = FrameFormat.of(planar("yuv420p"), VIDEO_OF_PICTURES, (height, width))
    choice = choose(format, (height, width), path, "h264")
    every = Fraction(rate).limit_denominator(1001)
    packing = Packing(choice, format, 1 / every, every)
    room = _STEP * _FRAMES
    wide = np.pad(picture, ((0, room), (0, room), (0, 0)), "symmetric")
    with pyav().open(str(path), "w") as out:
        stream = out.add_stream(choice.codec.encoder, rate=every)
        packing.dress(stream.codec_context)
        stream.time_base = packing.time_base
        for number in range(_FRAMES):
            at = _STEP * number
            part = wide[at : at + height, at : at + width].transpose(2, 0, 1)
            planes = codes_of(part.astype(np.float32) / np.float32(255), format)
            frame = frame_of(planes, packing)
            frame.pts, frame.time_base = number, packing.time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


class Film:
    """A video on its endless way through a network, as :func:`upscale_video` has it."""

    def __init__(self, path: Path, upscaler: Upscaler) -> None:
        """Open it.

        Args:
            path: From :func:`write_film`.
            upscaler: The network; stays the caller's to close.

        Raises:
            UserError: the network does not serve this, or there is too little memory.
        """
        with open_video(path) as video:
            given, base, rate = video.format, video.time_base, video.rate or Fraction(25)
        size = given.height * upscaler.scale, given.width * upscaler.scale
        choice = choose(given, size, path)
        wanted = FrameFormat.of(choice.layout, given.colour, size)
        self._path = path
        self._maker = FrameUpscaler(upscaler, given, wanted)
        self._encoder = Encoder(Packing(choice, wanted, base, rate))
        self._step = max(1, round(1 / rate / base))
        self._packed = 0
        self._frames = self._endless()

    def run(self, seconds: float) -> list[float]:
        """Upscale for a while; milliseconds from each finished frame to the next, at least two."""
        finished: list[float] = []
        ends = time.perf_counter() + seconds

        def seen() -> Iterator[Seen]:
            given = 0
            while given < _LEAST or time.perf_counter() < ends:
                given += 1
                yield self._maker.prepare(next(self._frames))

        def pack(result: Seen) -> None:
            self._encoder.add(self._maker.finish(result), self._packed * self._step)
            self._packed += 1
            finished.append(time.perf_counter())

        overlap(seen(), self._maker.run, pack)
        return [1e3 * float(step) for step in np.diff(finished)]

    def _endless(self) -> Iterator[Planes]:
        while True:
            with open_video(self._path) as video:
                for frame in video.frames():
                    yield frame.planes
