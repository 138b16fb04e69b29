"""Files and pipes that hold videos, opened so that nothing else is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from srdeploy.errors import SrdeployError, UserError, shown
from srdeploy.util.files import require_file
from srdeploy.video.frames import Planes
from srdeploy.video.layout import Layout
from srdeploy.video.library import pyav

SUFFIXES = (
    *(".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".nut", ".mxf", ".vob", ".y4m", ".h264", ".hevc"),
    *(".264", ".265", ".ivf", ".obu"),
)
"""Endings of files that are read as videos."""

PIPE = "-"
"""What stands for standard input and output."""

MAX_PIXELS = 1 << 27
"""Of a frame; a file that announces more is not decoded."""

# Containers that hold their data themselves. Playlists, scripts and patterns are not among them:
# they would have other files and addresses read.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,av1,obu,ivf,"
    "vc1,flv,live_flv,asf,ogg,nut,mxf,gxf,dv,rm,wtv,yuv4mpegpipe,rawvideo,mjpeg,gif,apng"
)


@dataclass(frozen=True)
class RawFrames:
    """What frames without a header are.

    Attributes:
        width: Of a frame.
        height: Likewise.
        pixel_format: FFmpeg's name.
        rate: Frames per second.
    """

    width: int
    height: int
    pixel_format: str
    rate: Fraction


@contextmanager
def opened_file(source: str | Path, raw: RawFrames | None = None) -> Iterator[Any]:
    """A container of PyAV that reads nothing but this file.

    Raises:
        UserError: as :func:`open_video`.
    """
    av = pyav()
    pipe = source == PIPE
    if not pipe:
        require_file(source, "video")
    options = {"protocol_whitelist": "pipe" if pipe else "file", "format_whitelist": _CONTAINERS}
    options |= {"max_pixels": str(MAX_PIXELS)}
    if raw is not None:
        options |= {
            "video_size": f"{raw.width}x{raw.height}",
            "pixel_format": raw.pixel_format,
            "framerate": str(raw.rate),
        }
    with reading(named(source)):
        container = av.open(
            "pipe:0" if pipe else f"file:{source}",
            format=None if raw is None else "rawvideo",
            options=options,
            metadata_errors="replace",
        )
    with container:
        yield container


def named(source: str | Path) -> str:
    """What sentences call it."""
    return "standard input" if source == PIPE else f"'{source}'"


def chosen_video(container: Any, name: str = "the file") -> Any:
    """The video among the streams: no cover picture."""
    pictures = container.streams.video
    videos = [one for one in pictures if not one.disposition & one.disposition.attached_pic]
    if not videos:
        raise UserError(f"{name} holds no video; its streams: {_streams(container)}.")
    best = container.streams.best("video")
    chosen = best if best in videos else videos[0]
    if chosen.codec_context is None:
        raise UserError(f"{name} is packed in a way that this PyAV does not decode.")
    return chosen


def _streams(container: Any) -> str:
    return ", ".join(stream.type for stream in container.streams) or "none"


def planes_of(frame: Any, layout: Layout) -> Planes:
    """The code values of a frame of PyAV (views), by component."""
    planes = []
    for component, number in enumerate(layout.planes):
        plane = frame.planes[number]
        rows, columns = layout.shape(component, frame.height, frame.width)
        values = np.frombuffer(plane, layout.dtype)
        stride = plane.line_size // layout.dtype.itemsize
        lines = values.reshape(-1, abs(stride))[:rows, :columns]
        planes.append(lines if stride > 0 else lines[::-1])  # stored from the bottom up
    return planes


@contextmanager
def reading(name: str) -> Iterator[None]:
    """FFmpeg's errors as one sentence."""
    try:
        yield
    except SrdeployError:
        raise
    except pyav().error.FFmpegError as error:
        reason = shown(getattr(error, "strerror", None) or error)
        raise UserError(
            f"{name} is no video that can be read ({reason}); name a video file that holds its "
            "data itself, such as .mp4, .mkv or .mov."
        ) from error
