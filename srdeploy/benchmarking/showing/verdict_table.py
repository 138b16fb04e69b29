"""A verdict for people: in a terminal, and as Markdown for a CI system's summary page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from srdeploy.benchmarking.deciding.verdict import Verdict, VerdictLine, Word
from srdeploy.benchmarking.showing.table import milliseconds

if TYPE_CHECKING:
    from rich.console import JustifyMethod
    from rich.table import Table

WORDS: dict[Word | None, str] = {
    "pass": "pass",
    "fail": "FAIL",
    "noisy": "too noisy to tell",
    None: "-",
}
_STYLES = {"pass": "green", "fail": "bold red", "noisy": "yellow"}
_COLUMNS = (
    *("artifact", "device", "scenario", "base\nms", "new\nms", "slower", "95 %\ninterval"),
    *("PSNR\nlost", "verdict"),
)
_NAMES = 3
"""Columns that name a line; the others are figures."""


def verdict_table(found: Verdict) -> Table:
    """One line per artifact, device and scenario; these two stand above where there is one."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    places = {(line.device, line.scenario) for line in found.lines}
    alone = len(places) == 1
    title = Text(", ".join(*places)) if alone else None
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left"
    )
    shown = [n for n in range(len(_COLUMNS)) if not (alone and 0 < n < _NAMES)]
    for number in shown:
        justify: JustifyMethod = "left" if number < _NAMES else "right"
        table.add_column(_COLUMNS[number], justify=justify, overflow="fold")
    for line in found.lines:
        cells = [Text(cell.removesuffix(" to tell")) for cell in _cells(line)]
        cells[-1].stylize(_STYLES.get(line.verdict or "", ""))
        table.add_row(*(cells[number] for number in shown))
    return table


def markdown(found: Verdict) -> str:
    """The same as a Markdown table, with the notes under it."""
    head = tuple(name.replace("\n", " ") for name in _COLUMNS)
    rows = [head, ("---",) * len(_COLUMNS), *map(_cells, found.lines)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes(found))])


def notes(found: Verdict) -> list[str]:
    """What the figures rest on, why something failed, and the result in one sentence."""
    told = []
    for line in found.lines:
        told += [f"{line.artifact} on {line.device}, {line.scenario}: {r}" for r in line.reasons]
    compared = [line for line in found.lines if line.slowdown is not None]
    if any(line.paired for line in compared):
        told.append("slower: median over rounds that took turns, with its 95 % interval")
    if any(not line.paired and 1 in line.runs for line in compared):
        told.append(
            "measured apart and one run on a side: how much runs differ from each other is not in "
            "the interval; measure both side by side, or --repeats 5"
        )
    elif any(not line.paired for line in compared):
        told.append("slower: measured apart, several runs each, with its 95 % interval")
    if found.verdict is not None:
        count = {word: sum(line.verdict == word for line in found.lines) for word in WORDS}
        told.append(", ".join(f"{count[w]} {WORDS[w]}" for w in ("fail", "noisy", "pass")) + ".")
    return told


def _cells(line: VerdictLine) -> tuple[str, ...]:
    slower = interval = "-"
    if line.slowdown is not None:
        slower = f"{100 * line.slowdown:+.1f}%"
        if line.slowdown_low is not None and line.slowdown_high is not None:
            ends = (100 * line.slowdown_low, 100 * line.slowdown_high)
            interval = f"[{ends[0]:+.1f}, {ends[1]:+.1f}]"
    return (
        line.artifact,
        line.device,
        line.scenario,
        milliseconds(line.base_ms),
        milliseconds(line.new_ms),
        slower,
        interval,
        "-" if line.drop is None else f"{line.drop:+.3f} dB",
        WORDS[line.verdict],
    )
