"""Rows for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from srdeploy.bench.row import Row
from srdeploy.tables import WIDTH, fitted

Columns = dict[str, Callable[[Row], str]]
"""How a row fills each column."""

_NONE = "-"
NOT_TOLD = "not told"
"""What stands where a device keeps a figure to itself."""


def tables(rows: Sequence[Row], width: int = WIDTH) -> list[Table | Text]:
    """Tables per device, scenario and input, in the order of the rows, for lines of a width."""

    def batch(row: Row) -> tuple[str, str, str, int]:
        return row.device, row.scenario["name"], str(row.scenario["inputs"]), row.repeat

    groups = [list(group) for _, group in groupby(rows, batch)]
    named = len(groups) > 1
    return [table for group in groups for table in group_tables(group, named, width)]


def group_tables(
    rows: Sequence[Row], named: bool = False, width: int = WIDTH
) -> list[Table | Text]:
    """One line per artifact; what only some devices tell makes a second table.

    Columns that find no room in the width stand in another table below. Failures, protocols and
    conditions are listed underneath.

    Args:
        rows: Of one device and scenario.
        named: Say which.
        width: Characters of a line.
    """
    first = _table(rows, _told(_COLUMNS, rows, always=_ALWAYS), runtimes=True)
    first.title = Text(_title(rows, named)) if rows else None
    drawn: list[Table | Text] = [*fitted(first, width)]
    if more := _told(_MORE, rows):
        drawn += fitted(_table(rows, more, runtimes=False), width)
    if lines := _notes(rows):
        drawn.append(Text("\n".join(lines), style="dim"))
    return drawn


def _told(columns: Columns, rows: Sequence[Row], always: Sequence[str] = ()) -> Columns:
    """The columns in which a row has something to put."""
    return {
        name: show
        for name, show in columns.items()
        if name in always or any(show(row) != _NONE for row in rows)
    }


def _table(rows: Sequence[Row], columns: Columns, *, runtimes: bool) -> Table:
    table = Table(
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("artifact", overflow="fold", min_width=11)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        label = Text(row.artifact)
        if row.runtime and runtimes:
            label.append(f"\n{row.runtime}", style="dim")
        table.add_row(label, *(Text(show(row)) for show in columns.values()))
    return table


def milliseconds(value: float | None) -> str:
    """Four digits: more are noise."""
    return _NONE if value is None else f"{value:.{max(0, 4 - len(str(int(value))))}f}"


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = [
        f"quality: {label}" for label in sorted({row.protocol for row in rows if row.protocol})
    ]
    if any(row.speedup is not None for row in rows):
        notes.append("times faster than the first, paired by round, with its 95 % interval")
    if any(row.drift is not None for row in rows):
        notes.append("drift: times slower in the last tenth than in the first, 95 % interval")
    notes += sorted({f"power: {row.power_source}" for row in rows if row.power_source})
    notes += sorted({line for row in rows if row.n_samples for line in _conditions(row)})
    notes += sorted({row.note for row in rows if row.note})
    return notes + [row.error for row in rows if row.error]


def _conditions(row: Row) -> list[str]:
    """What the device told of itself before and after, where it told anything."""
    pairs = []
    for key, unit in (("temperatures_c", " C"), ("clocks_mhz", " MHz")):
        ends = [max(end.get(key, {}).values(), default=None) for end in (row.before, row.after)]
        if ends[0] is not None and ends[1] is not None:
            pairs.append(f"{ends[0]:.0f} to {ends[1]:.0f}{unit}")
    for key, label in (("power_mode", "power mode "), ("thermal", "thermal state ")):
        words = list(dict.fromkeys(str(end[key]) for end in (row.before, row.after) if key in end))
        if words:
            pairs.append(label + " to ".join(words))
    lines = [", ".join(pairs)] if pairs else []
    load, cpus = row.machine.get("load_1min"), row.machine.get("cpus")
    if load is not None and cpus and load > cpus / 2:
        lines.append(f"not a quiet machine: load {load:.1f} on {cpus} CPUs before the measurement")
    silent = [
        name
        for name, told in (
            ("temperatures", row.after.get("temperatures_c")),
            ("clocks", row.after.get("clocks_mhz")),
            ("power", row.power_w),
        )
        if not told
    ]
    if silent and (pairs or row.scenario["sustained"]):
        lines.append(f"{', '.join(silent)}: {NOT_TOLD}")
    return lines


def _title(rows: Sequence[Row], named: bool) -> str:
    row = next((row for row in rows if not row.error), rows[0])
    size = f"LR {row.lr_size[1]}x{row.lr_size[0]}" if row.lr_size else "no input"
    threads = f"{row.threads} thread{'s' if row.threads != 1 else ''}" if row.threads else ""
    machine = row.machine.get("model") or row.machine.get("cpu")
    parts = [f"x{row.scale}", size, threads, str(machine or "")]
    if row.device != "local":
        parts.append(row.device)
    if named:
        parts.append(row.scenario["name"])
        parts.append(f"run {row.repeat + 1}" if row.repeat else "")
    return ", ".join(part for part in parts if part)


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _ratio(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f}\n{low:.2f}-{high:.2f}"


def _quality(luma: float | None, rgb: float | None, digits: int) -> str:
    return _number(luma if luma is not None else rgb, digits)


_COLUMNS: Columns = {
    "p50\nms": lambda row: milliseconds(row.p50_ms),
    "p90\nms": lambda row: milliseconds(row.p90_ms),
    "times\nfaster": lambda row: _ratio(row.speedup, row.speedup_low, row.speedup_high),
    "first\nms": lambda row: milliseconds(row.first_ms),
    "peak\nMB": lambda row: _number(row.peak_mb, 0),
    "params": lambda row: _NONE if row.params is None else f"{row.params / 1e3:.0f}K",
    "MACs\n720p": lambda row: _NONE if row.macs_720p is None else f"{row.macs_720p / 1e9:.1f}G",
    "PSNR\ndB": lambda row: _quality(row.psnr_y, row.psnr_rgb, 2),
    "SSIM": lambda row: _quality(row.ssim_y, row.ssim_rgb, 4),
}

_ALWAYS = ("p50\nms", "p90\nms")

_MORE: Columns = {
    "compute\nms": lambda row: milliseconds(row.compute_p50_ms),
    "drift": lambda row: _ratio(row.drift, row.drift_low, row.drift_high),
    "W": lambda row: _number(row.power_w, 1),
    "mJ/\nimage": lambda row: milliseconds(row.energy_mj),
}
