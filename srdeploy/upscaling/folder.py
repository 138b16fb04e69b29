"""Many pictures through one network: one bad picture stops nothing, and a rerun goes on."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from srdeploy.data.images import list_images
from srdeploy.data.opening import opened
from srdeploy.data.picture import Picture, read_picture
from srdeploy.data.picture_write import FORMATS, Format, find_format, format_of, open_writer
from srdeploy.errors import SrdeployError, UserError
from srdeploy.upscaling.compare import PictureComparison
from srdeploy.upscaling.image import Upscaler, hidden_bytes
from srdeploy.upscaling.journal import JOURNAL, Journal, fingerprint
from srdeploy.util.files import check_output, require_file, sha256
from srdeploy.util.progress import Tracker, track


class UpscalingStopped(SrdeployError):
    """Interrupted; what is finished stays. The command line exits with 130."""

    exit_code = 130


@dataclass(frozen=True)
class Settings:
    """How results are written.

    Attributes:
        format: A name from :data:`FORMATS`, or ``same``: the picture's own where we write it.
        bits: 8 or 16 to a channel; None: as the picture has.
        quality: 1 to 100, for JPEG and WebP.
        overwrite: Make everything anew.
        identity: What tells this network from others: its content's hash.
    """

    format: str = "png"
    bits: int | None = None
    quality: int = 95
    overwrite: bool = False
    identity: str = ""

    def __post_init__(self) -> None:
        """Raise UserError for settings that do not exist."""
        if self.format != "same":
            find_format(self.format)
        if self.bits not in (None, 8, 16):
            raise UserError(f"--bits {self.bits} does not exist; choose 8 or 16.")
        if not 1 <= self.quality <= 100:
            raise UserError(f"--quality {self.quality} is not between 1 and 100.")

    def kind(self, source: Path) -> Format:
        """The format of the result of a picture."""
        if self.format == "same":
            return format_of(source) or FORMATS["png"]
        return find_format(self.format)


@dataclass
class PictureOutcome:
    """What became of one picture.

    Attributes:
        source: Its file.
        output: The result's file.
        state: ``written``, ``finished`` (before, so it was skipped) or ``failed``.
        reason: Why it failed, in one sentence.
        size: Height and width of the picture.
        tiles: How many it took.
        tile: Height and width of each, in network input pixels.
        overlap: Of tiles, likewise.
        exact: The tiles give what the whole would have given.
        work: Pixels the network saw over pixels there are.
        seconds: Reading and writing included.
        notes: What was changed or left out, in sentences.
        comparison: The side-by-side's facts.
    """

    source: Path
    output: Path
    state: str = "failed"
    reason: str = ""
    size: tuple[int, int] = (0, 0)
    tiles: int = 0
    tile: tuple[int, int] = (0, 0)
    overlap: int = 0
    exact: bool = True
    work: float = 1.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    comparison: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**vars(self), "source": str(self.source), "output": str(self.output)}


def find_pictures(inputs: Sequence[str]) -> list[Path]:
    """The pictures that files, folders and patterns name, each once, in their order.

    What does not exist or is no file stays in the list: it fails when its turn comes.

    Raises:
        UserError: a folder without images, or a pattern that fits nothing.
    """
    found: list[Path] = []
    for text in inputs:
        path = Path(text)
        if os.path.isdir(path):
            found += list_images(path)
        elif glob.has_magic(text) and not os.path.lexists(path):
            matches = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
            if not matches:
                raise UserError(f"Nothing fits the pattern '{text}'.")
            found += [match for match in matches if not os.path.isdir(match)]
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def name_results(
    sources: Sequence[Path], output: Path, scale: int, settings: Settings
) -> dict[Path, Path]:
    """Where each picture's result goes.

    Args:
        sources: From :func:`find_pictures`.
        output: A folder, which gets ``<name>_x<scale>.png``; or, for one picture, a file.
        scale: For the names.
        settings: For the endings.

    Raises:
        UserError: two pictures would have one result, or a result would replace a picture.
    """
    if (kind := format_of(output)) is not None and not os.path.isdir(output):
        if len(sources) > 1:
            raise UserError(f"'{output}' is one file, for {len(sources)} pictures; name a folder.")
        if settings.format not in ("png", "same", kind.name):
            raise UserError(f"'{output}' does not fit --format {settings.format}.")
        check_output(output)
        targets = {sources[0]: output}
    else:
        targets = {
            path: output / f"{path.stem}_x{scale}{settings.kind(path).suffixes[0]}"
            for path in sources
        }
    refuse_collisions(targets, "picture")
    return targets


def refuse_collisions(targets: Mapping[Path, Path] | Mapping[str, Path], what: str) -> None:
    """See that no result takes another's place, or a source's.

    Args:
        targets: The result of each source.
        what: What a source is, for people.

    Raises:
        UserError: one would.
    """
    seen: dict[Path, str | Path] = {}
    for source, target in targets.items():
        if target in seen:
            raise UserError(
                f"'{seen[target]}' and '{source}' would both be written to '{target}'; upscale "
                "them into different folders."
            )
        seen[target] = source
    sources = {os.path.realpath(source) for source in targets}
    for source, target in targets.items():
        if os.path.realpath(target) in sources:
            raise UserError(
                f"The result of '{source}' would replace the {what} '{target}'; choose another -o."
            )


def upscale_pictures(
    upscaler: Upscaler,
    targets: dict[Path, Path],
    settings: Settings,
    comparison: PictureComparison | None = None,
) -> list[PictureOutcome]:
    """Upscale pictures one after the other.

    Args:
        upscaler: The network.
        targets: From :func:`name_results`.
        settings: How results are written.
        comparison: Also make side-by-sides.

    Returns:
        What became of each, in order. A picture that fails does not stop the others.

    Raises:
        UpscalingStopped: interrupted.
        UserError: the output folder cannot be written to.
    """
    folder = next(iter(targets.values())).parent
    check_output(folder / JOURNAL)
    journal = Journal(folder)
    outcomes: list[PictureOutcome] = []
    areas = {path: max(_area(path) // 1000, 1) for path in targets}
    try:
        with track("upscale", sum(areas.values())) as bar:
            for number, (source, target) in enumerate(targets.items(), 1):
                started = time.perf_counter()
                outcome = PictureOutcome(source, target)
                progress = _Share(bar, areas[source], f"{source.name} ({number} of {len(targets)})")
                try:
                    _one(upscaler, outcome, settings, journal, comparison, progress)
                except SrdeployError as error:
                    outcome.state, outcome.reason = "failed", str(error)
                except MemoryError:
                    outcome.state = "failed"
                    outcome.reason = f"'{source}' needs more memory than there is; lower --memory."
                except OSError as error:
                    outcome.state, outcome.reason = "failed", _sentence(error, source)
                progress.finish()
                outcome.seconds = time.perf_counter() - started
                outcomes.append(outcome)
    except KeyboardInterrupt:
        done = sum(outcome.state != "failed" for outcome in outcomes)
        raise UpscalingStopped(
            f"Stopped after {done} of {len(targets)} pictures; the same command goes on from there."
        ) from None
    return outcomes


def _one(
    upscaler: Upscaler,
    outcome: PictureOutcome,
    settings: Settings,
    journal: Journal,
    comparison: PictureComparison | None,
    progress: _Share,
) -> None:
    source, target = outcome.source, outcome.output
    require_file(source, "image")
    check_output(target)
    made_from = _fingerprint(source, upscaler, settings, comparison)
    sheet = comparison.sheet(target) if comparison else None
    if target.exists() and not settings.overwrite:
        if journal.knows(target, made_from) and (sheet is None or sheet.exists()):
            outcome.state = "finished"
            return
        if not journal.same_but_sheet(target, made_from):
            raise UserError(
                f"'{target}' exists and was made otherwise; give --overwrite, or another -o."
            )
    # A result is there whole or not at all. So what is noted before and there after is finished,
    # whenever the run was killed.
    for old in (target, sheet):
        if old is not None:
            old.unlink(missing_ok=True)
    journal.add(target, made_from, source.name)
    picture = read_picture(source, upscaler.room)
    kind = format_of(target) or settings.kind(source)
    outcome.size = picture.size
    outcome.notes += picture.notes
    dtype = _dtype(picture, kind, settings, outcome)
    alpha = picture.alpha is not None and kind.alpha
    if picture.alpha is not None and not alpha:
        outcome.notes.append(f"{kind.name} has no alpha, which is left out")
    channels = picture.colour.shape[2] + alpha
    scale = upscaler.scale
    size = picture.size[0] * scale, picture.size[1] * scale
    row_bytes = size[1] * scale * channels * np.dtype(dtype).itemsize
    held = kind.held(size, channels, dtype) + hidden_bytes(picture)
    with ExitStack() as stack:
        compared = None
        if comparison is not None:
            compared = stack.enter_context(comparison.begin(source, picture, scale, upscaler.room))
            held += compared.held
        grid = upscaler.plan(picture.size, row_bytes, held)
        outcome.tiles, outcome.tile, outcome.overlap = len(grid.tiles), grid.tile, grid.overlap
        outcome.exact, outcome.work = grid.exact, grid.work
        writer = stack.enter_context(
            open_writer(
                target, kind, size, channels, dtype,
                icc=picture.icc, exif=picture.exif, quality=settings.quality,
            )
        )  # fmt: skip
        parts = 2 if comparison else 1
        for band in upscaler.bands(picture, dtype, grid, alpha):
            writer.write(band)
            if compared is not None:
                compared.add(band, picture.alpha is not None and alpha)
            progress.advance(len(band) / size[0] / parts)
        if compared is not None and sheet is not None:
            outcome.comparison = compared.finish(sheet)
    outcome.state = "written"


def _dtype(picture: Picture, kind: Format, settings: Settings, outcome: PictureOutcome) -> type:
    wanted = {None: picture.pixels.dtype.type, 8: np.uint8, 16: np.uint16}[settings.bits]
    if wanted == np.uint16 and not kind.sixteen_bits:
        outcome.notes.append(f"{kind.name} has 8 bits, to which the result is rounded")
        return np.uint8
    return wanted


def _fingerprint(
    source: Path, upscaler: Upscaler, settings: Settings, comparison: PictureComparison | None
) -> list[str]:
    """What a result depends on: with and without its side-by-side."""
    facts = [sha256(source), settings.identity, upscaler.session.runtime, upscaler.scale]
    facts += [settings.format, settings.bits, settings.quality]
    return fingerprint(facts, comparison.identity if comparison else "")


def _area(path: Path) -> int:
    """Pixels, from the header alone; 0 for what cannot be read."""
    try:
        with opened(path) as image:
            return image.width * image.height
    except (SrdeployError, MemoryError):  # reading it properly will say so
        return 0


def _sentence(error: OSError, source: Path) -> str:
    """What the system has against a picture or its result."""
    name = error.filename
    named = isinstance(name, (str, bytes)) and Path(os.fsdecode(name)) != source
    about = f" ('{os.fsdecode(name)}')" if named else ""
    return (
        f"'{source}' is left out: {error.strerror or error}{about}; mend that, or name another "
        "file or -o, and run again."
    )


class _Share:
    """One picture's part of the bar."""

    def __init__(self, bar: Tracker, units: int, title: str) -> None:
        self._bar, self._left, self._units, self._title = bar, float(units), units, title
        bar.update(0, picture=title)

    def advance(self, fraction: float) -> None:
        step = min(fraction * self._units, self._left)
        self._left -= step
        self._bar.update(step, picture=self._title)

    def finish(self) -> None:
        self._bar.update(self._left, picture=self._title)
