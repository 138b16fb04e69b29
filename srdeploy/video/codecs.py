"""What results are packed with: the table of codecs, and the one that keeps a video as it is."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from srdeploy.errors import UserError, unknown_name
from srdeploy.video.frames import FrameFormat
from srdeploy.video.layout import Layout, nearest, without_range
from srdeploy.video.library import pyav

CONTAINERS = {
    ".mkv": "matroska",
    ".mp4": "mp4",
    ".mov": "mov",
    ".m4v": "mp4",
    ".webm": "webm",
}
"""Endings of results, and FFmpeg's names of their containers."""


@dataclass(frozen=True)
class Codec:
    """A way to pack frames.

    Attributes:
        name: What ``--codec`` takes.
        encoder: FFmpeg's encoder.
        crf: Its constant rate factor unless told; None where it has none.
        largest_crf: The worst quality; 0 is the best.
        options: Of the encoder, unless told.
        even: Sides must be multiples of the chroma's steps.
        smallest: Side that it takes; x265 ends the process on narrower frames.
        tag: Four letters that MP4 and MOV want, where FFmpeg's own choice is not played everywhere.
    """

    name: str
    encoder: str
    crf: int | None = None
    largest_crf: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
    even: bool = False
    smallest: int = 1
    tag: str | None = None

    def formats(self) -> list[str] | None:
        """FFmpeg's names of the pixel formats that it takes; None where it is not built in."""
        av = pyav()
        try:
            found = av.Codec(self.encoder, "w").video_formats
        except ValueError:  # of PyAV: an encoder that it does not know
            return None
        return [one.name for one in found or ()]

    def holds(self, layout: Layout, size: tuple[int, int]) -> bool:
        """Whether a frame of this height and width has sides that it takes."""
        fits = not self.even or (size[0] % layout.down == 0 and size[1] % layout.across == 0)
        return fits and min(size) >= self.smallest


CODECS: dict[str, Codec] = {
    row.name: row
    for row in (
        Codec("h264", "libx264", 16, 51, {"preset": "medium"}, even=True),
        Codec(
            "hevc", "libx265", 18, 51, {"preset": "medium", "x265-params": "log-level=none"},
            even=True, smallest=64, tag="hvc1",
        ),
        Codec("vp9", "libvpx-vp9", 20, 63, {"row-mt": "1", "cpu-used": "3"}),
        Codec("av1", "libsvtav1", 20, 63, {"preset": "7"}, even=True, smallest=64),
        Codec("prores", "prores_ks", options={"vendor": "apl0"}),
        Codec("ffv1", "ffv1", options={"level": "3", "g": "1", "slices": "4", "slicecrc": "1"}),
    )
}  # fmt: skip
"""By name; the order is that of the default, for video of 8 bits."""

_DEEP_FIRST = ("hevc", "vp9", "av1", "ffv1")  # players decode h264 in 8 bits


@dataclass(frozen=True)
class Choice:
    """How a result is packed.

    Attributes:
        codec: The row.
        layout: Of the frames.
        pixel_format: FFmpeg's name of how the encoder has them: the same values, if otherwise
            packed.
        options: Of the encoder, all that are set.
        why: What was changed for it, in a sentence; empty for nothing.
    """

    codec: Codec
    layout: Layout
    pixel_format: str
    options: dict[str, str]
    why: str = ""

    def __str__(self) -> str:
        """``libx264, crf 16, preset medium, yuv420p``."""
        told = [f"{key} {value}" for key, value in self.options.items() if key != "x265-params"]
        return ", ".join([self.codec.encoder, *told, self.pixel_format])


def container_of(path: Path) -> str:
    """FFmpeg's name of the container that an ending means.

    Raises:
        UserError: it means none.
    """
    kind = CONTAINERS.get(path.suffix.lower())
    if kind is None:
        raise UserError(
            f"'{path}' names no video by its ending; choose from {', '.join(CONTAINERS)}."
        )
    return kind


def choose(
    given: FrameFormat,
    size: tuple[int, int],
    path: Path,
    name: str | None = None,
    crf: int | None = None,
    options: Mapping[str, str] | None = None,
) -> Choice:
    """The codec for a result.

    Unless one is named, it is the first that the container holds and that takes the frames as they
    are: their bits, their chroma and their size.

    Args:
        given: Of the source's frames, upright.
        size: Height and width of the result.
        path: The result.
        name: What was asked for.
        crf: Constant rate factor, instead of the codec's usual one.
        options: Of the encoder, beside or instead of the usual ones.

    Raises:
        UserError: there is no such codec, the container does not hold it, or it does not take such
            frames; no codec does.
    """
    container = container_of(path)
    wanted = without_range(given.layout)
    if name is not None and name not in CODECS:
        raise unknown_name("video codec", name, CODECS)
    deep = wanted.bits > 8
    order = dict.fromkeys([*(_DEEP_FIRST if deep else ()), *CODECS])
    held = _held_by(container)
    # ProRes is what it is asked for: its files are ten times as large.
    rows = [CODECS[one] for one in ([name] if name else order) if name or one != "prores"]
    fitting: list[tuple[Codec, Layout, str]] = []
    for row in rows:
        formats = row.formats()
        if formats is None:
            if name:
                raise UserError(f"This PyAV has no encoder {row.encoder}; choose another --codec.")
            continue
        if row.encoder not in held:
            if name:
                raise UserError(
                    f"{path.suffix} holds no {row.name}; choose another --codec, or write .mkv."
                )
            continue
        found = nearest(wanted, formats)
        if found is None:
            continue
        layout, pixel_format = found
        if row.holds(layout, size):
            fitting.append((row, layout, pixel_format))
        elif name:
            least = f", {row.smallest} at least" if row.smallest > 1 else ""
            raise UserError(
                f"{row.name} does not take {size[1]}x{size[0]} in {pixel_format}, only multiples "
                f"of {layout.across}x{layout.down}{least}; choose another --codec (vp9 or ffv1)."
            )
    if not fitting:
        raise UserError(
            f"No codec in {path.suffix} takes frames of {size[1]}x{size[0]} in {wanted.name}; "
            "write .mkv, with --codec ffv1."
        )
    exact = [one for one in fitting if one[1].name == wanted.name]
    codec, layout, pixel_format = (exact or fitting)[0]
    told = _options(codec, crf, options or {})
    return Choice(codec, layout, pixel_format, told, _why(wanted, layout, codec))


def _why(wanted: Layout, layout: Layout, codec: Codec) -> str:
    if layout.name == wanted.name:
        return ""
    return f"{codec.name} does not take {wanted.name}: written as {layout.name}"


def _options(codec: Codec, crf: int | None, given: Mapping[str, str]) -> dict[str, str]:
    if crf is not None and codec.crf is None:
        raise UserError(f"{codec.name} has no --crf; leave it out.")
    if crf is not None and not 0 <= crf <= codec.largest_crf:
        raise UserError(f"--crf {crf} is not between 0 and {codec.largest_crf} ({codec.name}).")
    options = dict(codec.options)
    if codec.crf is not None:
        options = {"crf": str(codec.crf if crf is None else crf), **options}
    return options | dict(given)


def _held_by(container: str) -> set[str]:
    """FFmpeg's names of the encoders whose packets a container holds."""
    with pyav().open(io.BytesIO(), "w", format=container) as empty:
        return set(empty.supported_codecs)
