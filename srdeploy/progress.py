"""Progress of long work: a bar with time left on a terminal's stderr, silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from srdeploy.terminal import safe_console


class Tracker(Protocol):
    """What :func:`track` yields."""

    def update(self, advance: float = 1, **fields: object) -> None:
        """Advance the bar; ``fields`` (for instance ``loss="0.012"``) are shown beside it."""


class _Silent:
    def update(self, advance: float = 1, **fields: object) -> None:
        return None


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
def track(description: str, total: int, completed: int = 0) -> Iterator[Tracker]:
    """A progress bar for ``total`` units of work, starting at ``completed`` when resuming.

    Nothing is drawn when stderr is not a terminal, so logs and JSON pipelines stay clean.
    """
    if not drawn():
        yield _Silent()
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
                note = "  ".join(f"{key} {value}" for key, value in fields.items())
                if note:
                    progress.update(task, advance=advance, note=note)
                else:
                    progress.update(task, advance=advance)

        yield _Bar()
