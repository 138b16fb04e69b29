"""``srdeploy upscale`` for videos: which is meant, and what is told of it."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, say

if TYPE_CHECKING:
    from srdeploy.upscaling.image import Upscaler
    from srdeploy.video.container import RawFrames
    from srdeploy.video.read import Video
    from srdeploy.video.run import Version, VideoOutcome

_USUAL_RATE = "24"


@dataclass(frozen=True)
class VideoOptions:
    """The options that videos have beside those of pictures, as they were typed.

    Attributes:
        codec: Of the result.
        crf: Its constant rate factor.
        codec_option: ``key=value``, each.
        frame_rate: Of pictures and of frames without a header.
        input_size: ``WxH`` of frames without a header.
        pixel_format: Of frames without a header.
        matrix: Of a video that does not tell its own.
    """

    codec: str | None = None
    crf: int | None = None
    codec_option: Sequence[str] = field(default_factory=tuple)
    frame_rate: str | None = None
    input_size: str | None = None
    pixel_format: str | None = None
    matrix: str | None = None

    def given(self) -> list[str]:
        """Names of the options that were given."""
        return [
            f"--{name.replace('_', '-').removesuffix('-size')}"
            for name, value in vars(self).items()
            if value
        ]


def is_video(inputs: Sequence[str], output: Path) -> bool:
    """Whether a video is read or written."""
    from srdeploy.video.codecs import CONTAINERS
    from srdeploy.video.container import PIPE, SUFFIXES
    from srdeploy.video.stills import is_pattern

    ends = {Path(text).suffix.lower() for text in inputs}
    written = output.suffix.lower() in CONTAINERS and not output.is_dir()
    return (
        PIPE in (*inputs, str(output))
        or bool(ends & set(SUFFIXES))
        or written
        or is_pattern(output)
    )


def upscale_videos(
    upscaler: Upscaler,
    inputs: Sequence[str],
    output: Path,
    options: VideoOptions,
    identity: str,
    versions: Sequence[Version],
    overwrite: bool,
    quality: int,
) -> list[VideoOutcome]:
    """Upscale what the arguments name, one after the other.

    Returns:
        What became of each; of several, one that fails does not stop the others.

    Raises:
        UserError: the arguments fit no video.
        SrdeployError: the only video fails.
    """
    from srdeploy.errors import SrdeployError, UserError
    from srdeploy.upscaling.folder import UpscalingStopped
    from srdeploy.video.container import PIPE
    from srdeploy.video.pipes import upscale_to_pictures, upscale_to_stdout
    from srdeploy.video.run import VideoOutcome, VideoSettings, upscale_video
    from srdeploy.video.stills import is_pattern

    raw = _raw(options)
    sources = _sources(inputs)
    to_pipe, to_pictures = str(output) == PIPE, is_pattern(output)
    settings = VideoSettings(
        options.codec, options.crf, _pairs(options.codec_option), overwrite, identity
    )
    targets = dict.fromkeys(sources, output)
    if not to_pipe and not to_pictures:
        targets = _targets(sources, output, upscaler.scale)
    elif len(sources) > 1:
        raise UserError(f"'{output}' is one result, for {len(sources)} videos; name a folder.")
    elif versions or options.codec or options.crf is not None or options.codec_option:
        raise UserError(
            f"'{output}' is no video file: --compare, --with, --codec, --crf and --codec-option do "
            "nothing there; leave them out."
        )

    def one(source: str, target: Path) -> VideoOutcome:
        file = Path(source) if source != PIPE and not os.path.isdir(source) else None
        with ExitStack() as stack:
            video = _open(stack, source, raw, options)
            if to_pipe:
                return upscale_to_stdout(video, upscaler, raw)
            if to_pictures:
                return upscale_to_pictures(
                    video, file, target, upscaler,
                    quality=quality, overwrite=overwrite, identity=identity,
                )  # fmt: skip
            return upscale_video(video, file, target, upscaler, settings, versions, note)

    outcomes = []
    for source, target in targets.items():
        try:
            outcomes.append(one(source, target))
        except UpscalingStopped:
            raise
        except SrdeployError as error:
            if len(targets) == 1:
                raise
            failed = VideoOutcome(source, str(target), "failed", damage=str(error))
            outcomes.append(failed)
    return outcomes


def tell(outcomes: Sequence[VideoOutcome], json: bool, file: str, upscaler: Upscaler) -> None:
    """Print what became of videos; ends with exit code 2 where one failed or is not complete."""
    from srdeploy.runtime.footprint import peak
    from srdeploy.video.container import PIPE

    to_pipe = any(one.output == PIPE for one in outcomes)
    if json and not to_pipe:
        emit({
            "file": file,
            "runtime": upscaler.session.runtime,
            "threads": upscaler.session.threads,
            "scale": upscaler.scale,
            "memory": upscaler.memory,
            "videos": [vars(one) for one in outcomes],
            "peak_memory": peak(),
        })  # fmt: skip
    for one in outcomes if not json or to_pipe else ():
        if one.state == "failed":
            continue
        put = note if to_pipe else say
        if one.state == "finished":
            put(f"{one.output}: finished before")
            continue
        resumed = f" ({one.resumed} of them before)" if one.resumed else ""
        speed = f", {one.fps:.3g} frames per second" if one.fps else ""
        put(
            f"{one.output}: {one.size[1]}x{one.size[0]}, {one.frames} frames{resumed}, "
            f"{one.seconds:.1f} s{speed}; {one.encoder}; {one.colour}"
        )
        for remark in one.notes:
            put(f"  {remark}")
        if one.comparison:
            put(f"  {one.comparison}")
    damaged = [one.damage for one in outcomes if one.damage]
    for sentence in damaged:
        note(f"srdeploy: {sentence}")
    if damaged:
        raise typer.Exit(2)


def _open(stack: ExitStack, source: str, raw: RawFrames | None, options: VideoOptions) -> Video:
    from srdeploy.data.images import list_images
    from srdeploy.errors import UserError, unknown_name
    from srdeploy.video.colour import NAMED
    from srdeploy.video.read import open_video
    from srdeploy.video.stills import open_pictures

    rate, matrix = options.frame_rate, options.matrix
    if matrix is not None and matrix not in NAMED:
        raise unknown_name("matrix", matrix, NAMED)
    if os.path.isdir(source):
        video = open_pictures(f"'{source}'", list_images(source), _rate(rate or _USUAL_RATE))
        if rate is None:
            video.notes.append(f"{_USUAL_RATE} pictures a second; --frame-rate sets another rate")
        return video
    if rate is not None and raw is None:
        raise UserError("--frame-rate is for folders of pictures and raw frames; leave it out.")
    return stack.enter_context(open_video(source, raw, NAMED[matrix] if matrix else None))


def _sources(inputs: Sequence[str]) -> list[str]:
    """Videos, folders of frames and ``-``, each once."""
    from srdeploy.errors import UserError
    from srdeploy.video.container import PIPE

    found: list[str] = []
    for text in inputs:
        if text != PIPE and glob.has_magic(text) and not os.path.lexists(text):
            matches = sorted(glob.glob(text, recursive=True))
            if not matches:
                raise UserError(f"Nothing fits the pattern '{text}'.")
            found += matches
        else:
            found.append(text)
    return list(dict.fromkeys(found))


def _targets(sources: Sequence[str], output: Path, scale: int) -> dict[str, Path]:
    """The result of each: the file named, or ``<name>_x<scale>`` in the folder named."""
    from srdeploy.errors import UserError
    from srdeploy.upscaling.folder import refuse_collisions
    from srdeploy.video.codecs import CONTAINERS, container_of

    if output.suffix.lower() in CONTAINERS and not output.is_dir():
        if len(sources) > 1:
            raise UserError(f"'{output}' is one file, for {len(sources)} videos; name a folder.")
        targets = {sources[0]: output}
    elif output.suffix and not output.is_dir():
        container_of(output)  # says which endings there are
        raise AssertionError
    else:
        targets = {}
        for source in sources:
            name = Path("stdin" if source == "-" else source)
            ending = name.suffix if name.suffix.lower() in CONTAINERS else ".mkv"
            targets[source] = output / f"{name.stem}_x{scale}{ending}"
    refuse_collisions(targets, "video")
    return targets


def _raw(options: VideoOptions) -> RawFrames | None:
    from srdeploy.errors import UserError
    from srdeploy.video.container import RawFrames

    if options.input_size is None:
        if options.pixel_format is not None:
            raise UserError("--pixel-format is of raw frames, which need --input WxH too.")
        return None
    height, width = o.size_of(options.input_size)
    rate = _rate(options.frame_rate or _USUAL_RATE)
    return RawFrames(width, height, options.pixel_format or "rgb24", rate)


def _rate(text: str) -> Fraction:
    """``24``, ``23.976`` or ``24000/1001``."""
    from srdeploy.errors import UserError

    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise UserError(f"--frame-rate '{text}' is none; write for instance 24 or 30000/1001.")
    return rate


def _pairs(words: Sequence[str]) -> dict[str, str]:
    from srdeploy.errors import UserError

    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise UserError(f"--codec-option '{word}' is none; write key=value, e.g. preset=fast.")
        pairs[key] = value
    return pairs
