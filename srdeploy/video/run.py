"""A video through a network: read, upscaled and packed at the same time, resumed if killed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.upscaling.folder import UpscalingStopped
from srdeploy.upscaling.image import Upscaler
from srdeploy.upscaling.journal import Journal, fingerprint
from srdeploy.util.files import check_output, sha256
from srdeploy.util.progress import Tracker, track
from srdeploy.video.codecs import Choice, choose
from srdeploy.video.colour import RGB_MATRIX
from srdeploy.video.compare import side_by_side
from srdeploy.video.container import PIPE
from srdeploy.video.encode import Packing
from srdeploy.video.frames import FrameFormat, FrameUpscaler, Planes, Seen
from srdeploy.video.hdr import with_hdr10
from srdeploy.video.join import fitting_streams, join
from srdeploy.video.layout import planar
from srdeploy.video.library import pyav
from srdeploy.video.overlap import overlap
from srdeploy.video.parts import Parts, StretchWriter
from srdeploy.video.read import Video
from srdeploy.video.stills import VIDEO_OF_PICTURES

STRETCH_SECONDS = 5
"""Of video that are packed at a time: the most that an interrupted run loses."""

_STRETCH = (8, 600)  # frames of a stretch, at least and at most


@dataclass(frozen=True)
class VideoSettings:
    """How results are written.

    Attributes:
        codec: A name of :data:`srdeploy.video.codecs.CODECS`; None for the one that keeps the
            video as it is.
        crf: Constant rate factor, instead of the codec's usual one.
        options: Of the encoder, beside or instead of the usual ones.
        overwrite: Make everything anew.
        identity: What tells this network from others: its content's hash.
    """

    codec: str | None = None
    crf: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    overwrite: bool = False
    identity: str = ""


@dataclass
class VideoOutcome:
    """What became of a video.

    Attributes:
        source: Its name.
        output: The result's.
        state: ``written``, ``finished`` (before, so it was skipped) or ``failed``.
        size: Height and width of the result.
        frames: How many it has.
        resumed: How many of them were there already.
        seconds: All that this run took.
        fps: Frames per second of this run, end to end; None where none was made.
        encoder: The encoder and its options.
        colour: What values mean in the result.
        comparison: The side-by-side video, if one was asked for.
        notes: What was changed or left out, in sentences.
        damage: What could not be read, or why it failed, in a sentence; empty for nothing.
    """

    source: str
    output: str
    state: str = "written"
    size: tuple[int, int] = (0, 0)
    frames: int = 0
    resumed: int = 0
    seconds: float = 0.0
    fps: float | None = None
    encoder: str = ""
    colour: str = ""
    comparison: str | None = None
    notes: list[str] = field(default_factory=list)
    damage: str = ""


@dataclass(frozen=True)
class Version:
    """A network beside the others in a comparison.

    Attributes:
        label: What its pictures are labelled with.
        upscaler: The network.
        identity: What tells it from others.
    """

    label: str
    upscaler: Upscaler
    identity: str


def comparison_of(target: Path) -> Path:
    """Where the side-by-side video of a result goes."""
    return target.with_name(f"{target.stem}_compare{target.suffix}")


def upscale_video(
    video: Video,
    source: Path | None,
    target: Path,
    upscaler: Upscaler,
    settings: VideoSettings,
    versions: Sequence[Version] = (),
    say: Callable[[str], None] = lambda sentence: None,
) -> VideoOutcome:
    """Upscale a video into a file.

    The frames are read, run through the network and packed in three threads. What is packed lies
    in stretches beside the result until all frames are there, so that the same command goes on
    where it was killed.

    Args:
        video: What is read.
        source: Its file, whose sound and other streams are copied; None where there is none, which
            cannot be resumed either.
        target: The result.
        upscaler: The network.
        settings: How the result is written.
        versions: Networks of a comparison, which is a second video, in their order; the last is
            ``upscaler``'s own. None for no comparison.
        say: Told of what is going to happen.

    Returns:
        What became of it.

    Raises:
        UpscalingStopped: interrupted.
        UserError: a codec that is none or does not fit, a result that was made otherwise, or a
            path that cannot be written to.
    """
    started = time.perf_counter()
    outcome = VideoOutcome(video.name, str(target))
    wanted, choice = result_format(video, target, upscaler.scale, settings)
    outcome.size, outcome.encoder, outcome.colour = wanted.size, str(choice), str(wanted.colour)
    targets = [target, *([comparison_of(target)] if versions else [])]
    outcome.comparison = str(targets[1]) if versions else None
    facts = [settings.identity, upscaler.session.runtime, upscaler.scale, str(choice)]
    facts += [sorted(choice.options.items())]
    compared = " ".join(one.identity for one in versions)
    made_from = fingerprint([content_of(source), *facts, pyav().__version__], compared)
    if source is not None and _finished(targets, made_from, settings):
        outcome.state = "finished"
        return outcome
    packings = [_packing(video, wanted, choice)]
    if versions:
        packings.append(_packing(video, _wide(wanted, len(versions)), choice))
    rate = packings[0].rate
    stretch = min(max(round(STRETCH_SECONDS * rate), _STRETCH[0]), _STRETCH[1])
    tracks = ["video", "compare"][: len(packings)]
    if source is None:
        Parts.remove(target)
    for path in targets:
        path.unlink(missing_ok=True)
    parts = Parts(target, made_from, stretch, tracks, settings.overwrite)
    Journal(target.parent).add(target, made_from, video.name)
    left = fitting_streams(source, target) if source is not None else []
    say(_announced(video, wanted, choice, [*video.notes, choice.why, *left]))
    uppers = [one.upscaler for one in versions] or [upscaler]
    made = _fill(video, [FrameUpscaler(one, video.format, wanted) for one in uppers],
                 packings, parts, [one.label for one in versions])  # fmt: skip
    assert parts.state is not None
    outcome.frames, outcome.damage = parts.state["frames"], parts.state["damage"]
    outcome.resumed = outcome.frames - made
    for name, packing, path in zip(tracks, packings, targets, strict=True):
        joined = join(parts.stretches(name), packing, path, source)
        outcome.notes = list(dict.fromkeys([*outcome.notes, *joined]))
    Parts.remove(target)
    outcome.notes = [note for note in [*parts.state["notes"], choice.why, *outcome.notes] if note]
    outcome.seconds = time.perf_counter() - started
    outcome.fps = made / outcome.seconds if made else None
    return outcome


def result_format(
    video: Video, target: Path, scale: int, settings: VideoSettings
) -> tuple[FrameFormat, Choice]:
    """What the frames of a result are, and how they are packed.

    Raises:
        UserError: no codec fits.
    """
    given = video.format
    size = given.height * scale, given.width * scale
    if video.codec == "pictures" and settings.codec != "ffv1":  # as players expect it
        layout = planar("yuv420p" if given.layout.bits == 8 else "yuv420p10le")
        given = FrameFormat.of(layout, VIDEO_OF_PICTURES, given.size)
    choice = choose(given, size, target, settings.codec, settings.crf, settings.options)
    choice = with_hdr10(choice, video.hdr10)
    colour = given.colour
    if colour.matrix == RGB_MATRIX and choice.layout.kind != "gbr":
        colour = VIDEO_OF_PICTURES
    return FrameFormat.of(choice.layout, colour, size), choice


def _packing(video: Video, format: FrameFormat, choice: Choice) -> Packing:
    rate = video.rate or Fraction(25)
    packing = Packing(choice, format, video.time_base, rate, video.aspect)
    packing.check()
    return packing


def _wide(format: FrameFormat, count: int) -> FrameFormat:
    """So many frames side by side."""
    size = format.height, format.width * count
    return FrameFormat.of(format.layout, format.colour, size, format.location)


def content_of(source: Path | None) -> str:
    """What tells a source from others."""
    return sha256(source) if source is not None else PIPE


def _finished(targets: Sequence[Path], made_from: list[str], settings: VideoSettings) -> bool:
    """Whether there is nothing left to do.

    Raises:
        UserError: there is a result that was made otherwise.
    """
    target = targets[0]
    check_output(target)
    if settings.overwrite or not target.exists():
        return False
    journal = Journal(target.parent)
    if journal.knows(target, made_from) and all(path.exists() for path in targets):
        return True
    if not journal.same_but_sheet(target, made_from):
        raise UserError(
            f"'{target}' exists and was made otherwise; give --overwrite, or another -o."
        )
    return False


def _announced(video: Video, wanted: FrameFormat, choice: Choice, notes: Sequence[str]) -> str:
    given = video.format
    lines = [
        f"{video.name}: {given.width}x{given.height}, {video.codec} {video.pixel_format}, "
        f"{given.colour}; result: {wanted.width}x{wanted.height}, {choice}"
    ]
    return "\n  ".join([*lines, *(note for note in notes if note)])


def _fill(
    video: Video,
    makers: Sequence[FrameUpscaler],
    packings: Sequence[Packing],
    parts: Parts,
    labels: Sequence[str],
) -> int:
    """Make all stretches that are not there; returns how many frames were made."""
    if parts.state is not None:
        return 0
    done = parts.done * parts.frames
    packer = _Packer(parts, packings)
    read = 0

    def seen() -> Iterator[tuple[int, int, list[Seen]]]:
        nonlocal read
        for number, frame in enumerate(video.frames()):
            read = number + 1
            if number >= done:
                yield frame.pts, frame.duration, [one.prepare(frame.planes) for one in makers]

    def pack(item: tuple[int, int, list[Seen]]) -> None:
        pts, duration, results = item
        planes = [one.finish(result) for one, result in zip(makers, results, strict=True)]
        tracks: list[Planes] = [planes[-1]]
        if len(packings) > 1:
            tracks.append(side_by_side(planes, labels, makers[-1].wanted))
        packer.add(tracks, pts, duration)

    try:
        with track("upscale", video.frames_about, done) as bar:
            run = _Runner(makers, bar)
            overlap(seen(), run, pack)
            packer.close()
    except KeyboardInterrupt:
        raise UpscalingStopped(
            f"Stopped after {parts.done * parts.frames} finished frames; the same command goes on "
            "from there."
        ) from None
    finally:
        packer.abandon()
    parts.finish({"frames": read, "notes": video.notes, "damage": video.damage})
    return read - done


class _Runner:
    """Runs the networks on a frame, and tells how fast that goes."""

    def __init__(self, makers: Sequence[FrameUpscaler], bar: Tracker) -> None:
        self._makers, self._bar = makers, bar
        self._began, self._frames = time.perf_counter(), 0

    def __call__(self, item: tuple[int, int, list[Seen]]) -> tuple[int, int, list[Seen]]:
        pts, duration, seen = item
        results = [one.run(pixels) for one, pixels in zip(self._makers, seen, strict=True)]
        self._frames += 1
        speed = self._frames / (time.perf_counter() - self._began)
        self._bar.update(1, fps=f"{speed:.3g}")
        return pts, duration, results


class _Packer:
    """Frames into one stretch after the other."""

    def __init__(self, parts: Parts, packings: Sequence[Packing]) -> None:
        self._parts, self._packings = parts, packings
        self._number = parts.done
        self._writer: StretchWriter | None = None

    def add(self, tracks: Sequence[Planes], pts: int, duration: int) -> None:
        if self._writer is None:
            self._writer = self._parts.writer(self._number, self._packings)
        self._writer.add(tracks, pts, duration)
        if self._writer.frames == self._parts.frames:
            self.close()

    def close(self) -> None:
        """Finish the stretch that is begun."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.finish()
            self._number += 1

    def abandon(self) -> None:
        """Remove the stretch that is begun; nothing happens where none is."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abandon()
