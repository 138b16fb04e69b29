"""Videos to what cannot be resumed as a file: standard output, and numbered pictures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.upscaling.image import Upscaler
from srdeploy.upscaling.journal import Journal, fingerprint
from srdeploy.util.files import check_output
from srdeploy.util.progress import track
from srdeploy.video.colour import RGB_MATRIX
from srdeploy.video.container import PIPE, RawFrames
from srdeploy.video.frames import FrameFormat, FrameUpscaler, Planes, Seen
from srdeploy.video.overlap import overlap
from srdeploy.video.read import Video
from srdeploy.video.run import VideoOutcome, content_of
from srdeploy.video.stills import VIDEO_OF_PICTURES, numbered, picture_format, write_frame
from srdeploy.video.stream import RawWriter, Y4mWriter


def upscale_to_stdout(
    video: Video, upscaler: Upscaler, raw: RawFrames | None = None
) -> VideoOutcome:
    """Upscale a video into standard output.

    Args:
        video: What is read.
        upscaler: The network.
        raw: What the frames are, where they have no header: so the results have none either.
            Otherwise they are YUV4MPEG2.

    Raises:
        UserError: the network does not serve this.
        BrokenPipeError: whoever reads has ended.
    """
    given = video.format
    size = given.height * upscaler.scale, given.width * upscaler.scale
    stream = sys.stdout.buffer
    if raw is not None:
        wanted = FrameFormat.of(given.layout, given.colour, size)
        write: Callable[[Planes], None] = RawWriter(stream, wanted, raw).write
        told = raw.pixel_format
    else:
        layout = Y4mWriter.layout(given.layout)
        colour = VIDEO_OF_PICTURES if given.colour.matrix == RGB_MATRIX else given.colour
        wanted = FrameFormat.of(layout, colour, size)
        write = Y4mWriter(stream, wanted, video).write
        told = f"YUV4MPEG2, {layout.name}"
    outcome = _run(video, upscaler, wanted, lambda number, planes: write(planes))
    stream.flush()
    if raw is None:
        outcome.notes.append(f"YUV4MPEG2 tells neither matrix nor times: it is {colour}")
    outcome.output, outcome.encoder = PIPE, told
    return outcome


def upscale_to_pictures(
    video: Video,
    source: Path | None,
    pattern: Path,
    upscaler: Upscaler,
    *,
    quality: int = 95,
    overwrite: bool = False,
    identity: str = "",
) -> VideoOutcome:
    """Upscale a video into numbered pictures; those that are there already are not made again.

    Args:
        video: What is read.
        source: Its file; None where there is none.
        pattern: Of their names, with ``%06d`` or so for the number.
        upscaler: The network.
        quality: 1 to 100, of JPEG and WebP.
        overwrite: Make all anew.
        identity: What tells this network from others.

    Raises:
        UserError: there are pictures that were made otherwise, or the folder cannot be written to.
    """
    first = numbered(pattern, 1)
    check_output(first)
    journal = Journal(pattern.parent)
    facts = [content_of(source), identity, upscaler.session.runtime, upscaler.scale, quality]
    made_from = fingerprint(facts, "")
    same = source is not None and journal.knows(pattern, made_from)
    if first.exists() and not same and not overwrite:
        raise UserError(
            f"'{first}' exists and was made otherwise; give --overwrite, or another -o."
        )
    journal.add(pattern, made_from, video.name)
    given = video.format
    wanted = picture_format(
        given, (given.height * upscaler.scale, given.width * upscaler.scale), pattern
    )
    outcome = _run(
        video,
        upscaler,
        wanted,
        lambda number, planes: write_frame(numbered(pattern, number), planes, quality),
        lambda number: same and not overwrite and numbered(pattern, number).exists(),
    )
    outcome.output, outcome.encoder = str(pattern), f"{pattern.suffix[1:]}, {wanted.layout.name}"
    return outcome


def _run(
    video: Video,
    upscaler: Upscaler,
    wanted: FrameFormat,
    write: Callable[[int, Planes], None],
    there: Callable[[int], bool] = lambda number: False,
) -> VideoOutcome:
    """Upscale all frames but those that are there; ``write`` gets their numbers from 1 on."""
    started = time.perf_counter()
    maker = FrameUpscaler(upscaler, video.format, wanted)
    outcome = VideoOutcome(video.name, "", size=wanted.size, colour=str(wanted.colour))

    def seen() -> Iterator[tuple[int, Seen]]:
        for number, frame in enumerate(video.frames(), 1):
            outcome.frames = number
            if there(number):
                outcome.resumed += 1
            else:
                yield number, maker.prepare(frame.planes)

    with track("upscale", video.frames_about) as bar:

        def run(item: tuple[int, Seen]) -> tuple[int, Seen]:
            number, pixels = item
            result = maker.run(pixels)
            bar.update(1, fps=f"{(number - outcome.resumed) / (time.perf_counter() - started):.3g}")
            return number, result

        def put(item: tuple[int, Seen]) -> None:
            write(item[0], maker.finish(item[1]))

        overlap(seen(), run, put)
    outcome.notes, outcome.damage = list(video.notes), video.damage
    outcome.seconds = time.perf_counter() - started
    made = outcome.frames - outcome.resumed
    outcome.fps = made / outcome.seconds if made else None
    return outcome
