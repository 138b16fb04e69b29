"""Progress of long work: a bar with time left on a terminal's stderr, a line at times elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from srdeploy.util.terminal import plain, safe_console

EVERY = 30.0
"""Seconds between lines where no bar is drawn; shorter work says nothing."""

_WIDTH = 80


class Tracker(Protocol):
    """What :func:`track` yields."""

    def update(self, advance: float = 1, **fields: object) -> None:
        """Advance the bar; ``fields`` (for instance ``loss="0.012"``) are shown beside it."""


class _Silent:
    def update(self, advance: float = 1, **fields: object) -> None:
        return None


class _Lines:
    """For logs: a line every so often."""

    def __init__(self, description: str, total: int | None, completed: int) -> None:
        self._description, self._total = description, total
        self._first, self._done = completed, float(completed)
        self._started = time.monotonic()
        self._note = ""

    def update(self, advance: float = 1, **fields: object) -> None:
        global _said
        self._done += advance
        self._note = _noted(fields) or self._note
        now = time.monotonic()
        if now - _said < EVERY or not self._first < self._done < (self._total or math.inf):
            return
        _said = now
        told = f"{self._description}: {int(self._done)}"
        if self._total is not None:
            spent = (now - self._started) / (self._done - self._first)
            left = _span(spent * (self._total - self._done))
            share = f"{100 * self._done / self._total:.0f} %"
            told += f" of {self._total} ({share}), {left} left"
        if self._note:
            together = len(told) + 2 + len(self._note) <= _WIDTH
            told += f"{'  ' if together else chr(10) + '  '}{self._note}"
        print(plain(told), file=sys.stderr, flush=True)


def _noted(fields: dict[str, object]) -> str:
    return "  ".join(f"{key} {value}" for key, value in fields.items())


def _span(seconds: float) -> str:
    """A time in one unit."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


_said = 0.0
"""When the last line was written, or the outermost work began."""
_depth = 0


_quiet = False


def set_quiet(quiet: bool) -> None:
    """Switch every later bar off (the command line's ``--quiet``)."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether nothing is to be said of progress."""
    return _quiet


def drawn() -> bool:
    """Whether progress is drawn: stderr is a terminal, and nobody asked for quiet."""
    return not _quiet and sys.stderr.isatty()


@contextmanager
def hidden() -> Iterator[None]:
    """No bars inside: something else draws there."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


@contextmanager
def _working() -> Iterator[None]:
    """The first line comes after :data:`EVERY` seconds of the outermost work."""
    global _depth, _said
    if _depth == 0:
        _said = time.monotonic()
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1


@contextmanager
def track(description: str, total: int | None, completed: int = 0) -> Iterator[Tracker]:
    """A progress bar for ``total`` units of work, starting at ``completed`` when resuming.

    A total of None is unknown: there is no time left then.

    Where stderr is no terminal, a line is written there every :data:`EVERY` seconds.
    """
    if _quiet:
        yield _Silent()
        return
    if not drawn():
        with _working():
            yield _Lines(description, total, completed)
        return
    from rich.console import RenderableType
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class _TwoLines(Progress):
        """Figures go below the bar: beside it they would push out the time left."""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                if task.fields["note"]:
                    yield Text(f"  {task.fields['note']}", no_wrap=True, overflow="ellipsis")

    class _Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.3g}/s" if speed else "")

    progress = _TwoLines(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        _Speed(),
        console=safe_console(stderr=True),
        transient=True,
        expand=True,
    )
    with progress:
        task = progress.add_task(description, total=total, completed=completed, note="")

        class _Bar:
            def update(self, advance: float = 1, **fields: object) -> None:
                if note := _noted(fields):
                    progress.update(task, advance=advance, note=note)
                else:
                    progress.update(task, advance=advance)

        yield _Bar()
