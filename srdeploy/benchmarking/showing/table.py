"""Rows for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from srdeploy.benchmarking.measuring.row import Row
from srdeploy.quality.metrics import METRICS, Metric
from srdeploy.util.tables import WIDTH, fitted, wrapped

Columns = dict[str, Callable[[Row], str]]
"""How a row fills each column."""

_NONE = "-"
NOT_TOLD = "not told"
"""What stands where a device keeps a figure to itself."""


def tables(rows: Sequence[Row], width: int = WIDTH, everything: bool = False) -> list[Table | Text]:
    """Tables per device, scenario and input, in the order of the rows, for lines of a width."""

    def batch(row: Row) -> tuple[str, str, str, int]:
        return row.device, row.scenario["name"], str(row.scenario["inputs"]), row.repeat

    groups = [list(group) for _, group in groupby(rows, batch)]
    named = len(groups) > 1
    return [table for group in groups for table in group_tables(group, named, width, everything)]


def group_tables(
    rows: Sequence[Row], named: bool = False, width: int = WIDTH, everything: bool = False
) -> list[Table | Text]:
    """One line per artifact, with as many figures as fit, the essential ones first.

    Failures, protocols, conditions, and what found no room, are listed underneath.

    Args:
        rows: Of one device and scenario.
        named: Say which.
        width: Characters of a line.
        everything: All figures; those that find no room stand in further tables.
    """
    if not rows:
        return []
    there = [name for name, show in _columns().items() if _has(rows, name, show)]
    shown = there if everything else _fitting(rows, there, width)
    hidden = [name.replace("/\n", "/").replace("\n", " ") for name in there if name not in shown]
    notes = _notes(rows, hidden)
    drawn: list[Table | Text] = [Text(wrapped(_title(rows, named), width), style="italic")]
    drawn += _drawn(rows, shown, width)
    if notes:
        drawn.append(Text(wrapped("\n".join(notes), width), style="dim"))
    return drawn


def _has(rows: Sequence[Row], name: str, show: Callable[[Row], str]) -> bool:
    """Whether a row has something to put there."""
    return name in _ALWAYS or any(show(row) != _NONE for row in rows)


def _fitting(rows: Sequence[Row], there: Sequence[str], width: int) -> list[str]:
    """The essential columns, and of the others, dearest first, those that fit beside them."""

    def order(chosen: set[str]) -> list[str]:
        return [name for name in there if name in chosen]

    chosen = set(_ESSENTIAL) & set(there)
    essential = len(_drawn(rows, order(chosen), width))
    for name in _others():
        more = order({*chosen, name})
        if name in there and len(_drawn(rows, more, width)) == essential:
            chosen.add(name)
    return order(chosen)


def _drawn(rows: Sequence[Row], columns: Sequence[str], width: int) -> list[Table | Text]:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("artifact")
    several = len(_runtimes(rows)) > 1
    if several:
        table.add_column("runtime")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    show = _columns()
    for row in rows:
        names = [row.artifact, row.runtime or _NONE] if several else [row.artifact]
        table.add_row(*map(Text, names), *(Text(show[name](row)) for name in columns))
    together = several + sum(name in _ESSENTIAL for name in columns)
    return fitted(table, width, together)


def _runtimes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.runtime for row in rows if row.runtime))


def milliseconds(value: float | None) -> str:
    """Four digits: more are noise."""
    return _NONE if value is None else f"{value:.{max(0, 4 - len(str(int(value))))}f}"


def _notes(rows: Sequence[Row], hidden: Sequence[str]) -> list[str]:
    notes = list(
        dict.fromkeys(times_note(rows) + [quality_note(row) for row in rows if row.protocol])
    )
    if any(row.speedup is not None for row in rows):
        interval = any(row.speedup_low is not None for row in rows)
        notes.append(
            "times faster than the first: median of the ratios of neighbouring turns"
            f"{', with its 95 % interval' if interval else ''}; load that comes and goes moves the "
            "quotient of the p50 more than this"
        )
    if any(row.drift is not None for row in rows):
        notes.append("drift: times slower in the last tenth than in the first, 95 % interval")
    if any(row.fps is not None for row in rows):
        rates = sorted({str(row.scenario["frame_rate"]) for row in rows if row.fps})
        notes.append(
            "fps: frames of a video per second, decoding and encoding included; alone: of the "
            f"network; dropped: what a live video of {' or '.join(rates)} a second would lose"
        )
    notes += sorted({f"power: {row.power_source}" for row in rows if row.power_source})
    notes += sorted({line for row in rows if row.n_samples for line in _conditions(row)})
    notes += sorted({row.note for row in rows if row.note})
    notes += [f"--verbose adds {', '.join(hidden)}"] if hidden else []
    return notes + [row.error for row in rows if row.error]


def times_note(rows: Sequence[Row]) -> list[str]:
    """How many runs the latencies are of, and on what."""
    timed = [row for row in rows if row.n_samples]
    if not timed:
        return []
    counts = sorted(row.n_samples for row in timed)
    runs = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
    together = len(timed) > 1 and len({row.session for row in timed}) == 1
    told = f"times: p50 and p90 of {runs} runs{' each' if len(timed) > 1 else ''}"
    told += ", in turns" if together else ""
    machines = {_machine(row) for row in timed} - {""}
    return [f"{told}, on {machines.pop()}" if len(machines) == 1 else told]


def quality_note(row: Row) -> str:
    """What the quality is a mean of."""
    told = f"quality: {row.protocol}"
    if row.n_images:
        told += f", mean of {row.n_images} image{'s' if row.n_images != 1 else ''}"
    return f"{told} of {row.data}" if row.data else told


def _machine(row: Row) -> str:
    return str(row.machine.get("model") or row.machine.get("cpu") or "")


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
    runtimes = _runtimes(rows)
    runtime = runtimes[0] if len(runtimes) == 1 else ""
    parts = [f"x{row.scale}", size, runtime, threads, _machine(row)]
    if row.device != "local":
        parts.append(row.device)
    if named:
        parts.append(row.scenario["name"])
        parts.append(f"run {row.repeat + 1}" if row.repeat else "")
    return ", ".join(part for part in parts if part)


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"


def _interval(low: float | None, high: float | None) -> str:
    return _NONE if low is None or high is None else f"{low:.2f}-{high:.2f}"


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{100 * value:.0f} %"


def _quotient(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _columns() -> Columns:
    """All columns, in the order of the table."""
    return {
        "p50\nms": lambda row: milliseconds(row.p50_ms),
        "p90\nms": lambda row: milliseconds(row.p90_ms),
        "times\nfaster": lambda row: _number(row.speedup, 2),
        "95 %\ninterval": lambda row: _interval(row.speedup_low, row.speedup_high),
        **{metric.heading("\n"): partial(_figure, metric) for metric in METRICS.values()},
        "fps": lambda row: _number(row.fps, 2),
        "fps\nalone": lambda row: _number(row.fps_alone, 2),
        "of\nalone": lambda row: _percent(_quotient(row.fps, row.fps_alone)),
        "dropped": lambda row: _percent(row.dropped),
        "first\nms": lambda row: milliseconds(row.first_ms),
        "peak\nMB": lambda row: _number(row.peak_mb, 0),
        "params": lambda row: _NONE if row.params is None else f"{row.params / 1e3:.0f}K",
        "MACs\n720p": lambda row: _NONE if row.macs_720p is None else f"{row.macs_720p / 1e9:.1f}G",
        "compute\nms": lambda row: milliseconds(row.compute_p50_ms),
        "drift": lambda row: _number(row.drift, 2),
        "drift\n95 %": lambda row: _interval(row.drift_low, row.drift_high),
        "W": lambda row: _number(row.power_w, 1),
        "mJ/\nimage": lambda row: milliseconds(row.energy_mj),
    }


def _figure(metric: Metric, row: Row) -> str:
    return metric.number(row.figure(metric.name), _NONE)


_ALWAYS = ("p50\nms", "p90\nms")

_ESSENTIAL = (*_ALWAYS, "times\nfaster", "95 %\ninterval", METRICS["psnr"].heading("\n"))


def _others() -> tuple[str, ...]:
    """All that need not be there, the dearest first."""
    return (
        *("fps", "fps\nalone", "of\nalone", "dropped"),
        *("drift", "drift\n95 %", "W", "mJ/\nimage", "compute\nms"),
        *(metric.heading("\n") for metric in METRICS.values()),
        *("MACs\n720p", "params", "peak\nMB", "first\nms"),
    )
