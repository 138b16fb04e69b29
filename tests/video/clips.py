"""Videos made by script, with everything that real ones have."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from srdeploy.video.encode import filled
from srdeploy.video.layout import planar

SUBTITLES = (
    "1\n00:00:00,200 --> 00:00:00,700\nFirst.\n\n2\n00:00:01,000 --> 00:00:01,500\nSecond.\n"
)


def picture(number: int, height: int, width: int) -> np.ndarray:
    """A moving pattern, RGB in 0..1: ``[3, height, width]``."""
    y, x = np.mgrid[0:height, 0:width] / 16.0
    t = number / 7.0
    return np.stack(
        [0.5 + 0.45 * np.sin(x + t), 0.5 + 0.45 * np.cos(y - t), 0.5 + 0.4 * np.sin(x + y)]
    )


def planes_from(rgb: np.ndarray, name: str, kr: float, kb: float, full: bool) -> list[np.ndarray]:
    """Code values by the formulas of H.273; chroma by averages (written apart from the package)."""
    layout = planar(name)
    top = 2**layout.bits - 1
    if layout.kind == "gbr":
        return [np.round(plane * top).astype(layout.dtype) for plane in rgb]
    luma = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]
    chroma = [(rgb[2] - luma) / (2 * (1 - kb)), (rgb[0] - luma) / (2 * (1 - kr))]
    step = 2 ** (layout.bits - 8)
    out = [luma * top if full else step * (16 + 219 * luma)]
    for plane in chroma if layout.kind == "yuv" else ():
        rows, columns = layout.shape(1, *luma.shape)
        small = np.pad(
            plane,
            [(0, rows * layout.down - len(plane)), (0, columns * layout.across - plane.shape[1])],
            "edge",
        )
        small = small.reshape(rows, layout.down, columns, layout.across).mean(axis=(1, 3))
        out.append(small * top + (top + 1) / 2 if full else step * (128 + 224 * small))
    return [np.clip(np.round(plane), 0, top).astype(layout.dtype) for plane in out]


def make(
    path: Path,
    *,
    frames: int = 12,
    size: tuple[int, int] = (48, 64),
    name: str = "yuv420p",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    kr: float = 0.2126,
    kb: float = 0.0722,
    full: bool = False,
    tags: tuple[int, int, int, int] = (1, 1, 1, 1),
    time_base: Fraction = Fraction(1, 12800),
    times: Sequence[int] | None = None,
    sound: bool = False,
    subtitles: bool = False,
    aspect: Fraction | None = None,
) -> Path:
    """Write a video: ``tags`` are matrix, primaries, transfer and range, by FFmpeg's numbers."""
    times = times or [number * 512 for number in range(frames)]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25)
        context = stream.codec_context
        stream.height, stream.width = size
        stream.pix_fmt = name
        context.time_base = stream.time_base = time_base
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
        if aspect:
            context.sample_aspect_ratio = aspect
        context.options = options or ({"crf": "10"} if "x26" in codec else {})
        voice = None
        if sound:
            voice = out.add_stream("aac", rate=44100)
            voice.metadata["language"] = "fra"
        words = texts = None
        if subtitles:
            note = path.with_suffix(".srt")
            note.write_text(SUBTITLES)
            texts = av.open(str(note))
            words = out.add_stream_from_template(texts.streams.subtitles[0], opaque=True)
            words.metadata["language"] = "deu"
        out.metadata["title"] = "A clip"
        for number, pts in enumerate(times):
            planes = planes_from(picture(number, *size), name, kr, kb, full)
            frame = filled(planes, planar(name), size, name)
            frame.pts, frame.time_base = pts, time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if voice is not None:
            for start in range(0, int(44100 * times[-1] * time_base), 1024):
                wave = np.sin(np.arange(start, start + 1024) * 2 * math.pi * 440 / 44100)
                both = np.stack([wave, wave]).astype(np.float32)
                sound_frame = av.AudioFrame.from_ndarray(both, "fltp", "stereo")
                sound_frame.sample_rate, sound_frame.pts = 44100, start
                sound_frame.time_base = Fraction(1, 44100)
                out.mux(voice.encode(sound_frame))
            out.mux(voice.encode(None))
        if words is not None and texts is not None:
            for packet in texts.demux():
                if packet.size:
                    packet.stream = words
                    out.mux(packet)
            texts.close()
    return path


def facts(path: Path) -> dict[str, Any]:
    """What a video is, read back by PyAV alone."""
    with av.open(str(path)) as given:
        stream = given.streams.video[0]
        frames, times, tags = [], [], set()
        for frame in given.decode(stream):
            frames.append([values(plane, frame.format) for plane in frame.planes])
            times.append(frame.pts * stream.time_base)
            tags.add(
                (
                    frame.format.name,
                    int(frame.colorspace),
                    int(frame.color_primaries),
                    int(frame.color_trc),
                    int(frame.color_range),
                )
            )
        return {
            "frames": frames,
            "times": times,
            "tags": tags,
            "size": (stream.height, stream.width),
            "aspect": stream.sample_aspect_ratio,
        }


def turn(path: Path, matrix: Sequence[int]) -> None:
    """Write a display matrix (a, b, c, d; all else as usual) into every track of an MP4 file."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd")
    while at >= 0:
        a, b, c, d = (value << 16 for value in matrix)
        place = at + 4 + 40  # after version, flags, times, layer, volume
        data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        at = data.find(b"tkhd", at + 4)
    path.write_bytes(data)


def values(plane: Any, format: Any) -> np.ndarray:
    """A plane of a planar frame."""
    dtype = np.dtype("u1" if format.components[0].bits == 8 else "<u2")
    lines = np.frombuffer(plane, dtype).reshape(plane.height, -1)
    return lines[:, : plane.width].copy()


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    """Times and contents of all packets of a kind of stream."""
    with av.open(str(path)) as given:
        stream = next(one for one in given.streams if one.type == kind)
        return [(p.pts * p.time_base, bytes(p)) for p in given.demux(stream) if p.size]
