"""A run over several devices or scenarios, as it goes: a table that fills up, or a line each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from srdeploy.benchmarking.measuring.plan import Batch, Watcher
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.showing.table import milliseconds
from srdeploy.util.progress import drawn, hidden, is_quiet
from srdeploy.util.tables import fitted
from srdeploy.util.terminal import plain, safe_console

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live

SHOWN = 15
"""Rows of the table; earlier ones have scrolled out of it."""

_Place = tuple[str, str, str, int]


@contextmanager
def live_table(jobs: int) -> Iterator[Watcher]:
    """A watcher that draws on a terminal's stderr, and elsewhere writes one line per result.

    Args:
        jobs: How many results will come.
    """
    with ExitStack() as stack:
        if not drawn():
            yield Watcher() if is_quiet() else _Lines(jobs)
            return
        from rich.live import Live

        stack.enter_context(hidden())
        yield _Table(stack.enter_context(Live(console=safe_console(stderr=True))), jobs)


class _Lines(Watcher):
    def __init__(self, jobs: int) -> None:
        self._jobs, self._done = jobs, 0

    def row(self, batch: Batch, artifact: str, row: Row, stored: bool) -> None:
        """One line per result."""
        self._done += 1
        place = " ".join(part for part in _place(batch, artifact)[:3] if part)
        self.said(f"{self._done}/{self._jobs} {place}: {_told(row, stored)}")

    def said(self, sentence: str) -> None:
        """A line."""
        print(plain(sentence), file=sys.stderr)


class _Table(Watcher):
    def __init__(self, live: Live, jobs: int) -> None:
        self._live, self._jobs, self._done = live, jobs, 0
        self._states: dict[_Place, tuple[str, str]] = {}
        self._runs: dict[_Place, int] = {}

    def turn(self, batch: Batch, artifact: str, samples_ms: list[float]) -> None:
        """The latest time of what is being measured."""
        from statistics import median

        place = _place(batch, artifact)
        self._runs[place] = self._runs.get(place, 0) + len(samples_ms)
        self._show(place, milliseconds(median(samples_ms)), f"{self._runs[place]} runs")

    def row(self, batch: Batch, artifact: str, row: Row, stored: bool) -> None:
        """A result."""
        self._done += 1
        shown = milliseconds(row.p50_ms)
        self._show(_place(batch, artifact), shown, _state(row, stored))

    def said(self, sentence: str) -> None:
        """A line above the table."""
        self._live.console.print(sentence)

    def _show(self, place: _Place, ms: str, state: str) -> None:
        self._states.pop(place, None)  # the latest goes last
        self._states[place] = ms, state
        self._live.update(self._drawn())

    def _drawn(self) -> Group:
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table

        table = Table(box=SIMPLE_HEAD, caption=f"{self._done} of {self._jobs} done", pad_edge=False)
        for name in ("artifact", "device", "scenario"):
            table.add_column(name, overflow="fold")
        table.add_column("p50 ms", justify="right", no_wrap=True)
        table.add_column("", overflow="fold")
        for (artifact, device, scenario, repeat), told in list(self._states.items())[-SHOWN:]:
            again = f" ({repeat + 1})" if repeat else ""
            table.add_row(artifact, device, scenario + again, *told)
        return Group(*fitted(table, self._live.console.width))


def _place(batch: Batch, artifact: str) -> _Place:
    scenario = batch.request.scenario
    size = "" if scenario.input == "median" else f" {scenario.input[1]}x{scenario.input[0]}"
    return Path(artifact).name, batch.device, scenario.name + size, batch.repeat


def _state(row: Row, stored: bool) -> str:
    if row.error:
        return row.error
    return "was stored" if stored else "done"


def _told(row: Row, stored: bool) -> str:
    if row.error:
        return row.error
    ms = "no latency" if row.p50_ms is None else f"{milliseconds(row.p50_ms)} ms"
    return f"{ms} (was stored)" if stored else ms
