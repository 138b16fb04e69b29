"""How it was measured: machine, protocol and conditions, then what ran per artifact."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from srdeploy.benchmarking.measuring.row import Row
from srdeploy.reporting import html
from srdeploy.reporting.figures import name_of, scenario_of
from srdeploy.reporting.sources import SourceEntry

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def method(data: ReportData) -> str | None:
    """A card per device and scenario."""
    parts = []
    for group in data.groups:
        row = group.entries[0].row
        facts = [
            ("machine", _machine(row.machine)),
            ("conditions", _scenario(row)),
            ("before", _conditions([entry.row.before for entry in group.entries])),
            ("after", _conditions([entry.row.after for entry in group.entries])),
            ("quality", _quality([entry.row for entry in group.entries])),
            ("measured", " to ".join(_span([entry.row for entry in group.entries]))),
            ("notes", " ".join(_noted([entry.row for entry in group.entries]))),
        ]
        listed = "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts if v)
        head = ["artifact", "runtime", "computed in", "threads", "samples", "turns", "input"]
        head += ["load ms", "first ms", "content"]
        rows = [_ran(entry) for entry in group.entries]
        used = [i for i in range(len(head)) if any(r[i] not in ("", "–") for r in rows)]
        body = html.table([head[i] for i in used], [[r[i] for i in used] for r in rows],
                          texts=2)  # fmt: skip
        title = f"<h3>{escape(group.title)}</h3>"
        parts.append(f'<div class="card scroll">{title}<dl>{listed}</dl>{body}</div>')
    return "".join(parts) or None


def _ran(entry: SourceEntry) -> list[str]:
    row = entry.row
    version = " ".join(part for part in (row.runtime_version, row.provider) if part)
    return [
        f"<strong>{escape(name_of(row))}</strong>",
        f"{escape(row.runtime or '–')} {html.soft(version)}",
        escape(row.precision or "not known"),
        "–" if row.threads is None else str(row.threads),
        str(row.n_samples or "–"),
        str(len(entry.measurement.turns) or "–") if row.samples_ms else "–",
        "×".join(str(n) for n in row.input) if row.input else "–",
        "–" if row.load_ms is None else f"{row.load_ms:.0f}",
        "–" if row.first_ms is None else f"{row.first_ms:.1f}",
        f"<code>{row.sha256[:12]}</code>" if row.sha256 else "–",
    ]


def _machine(facts: dict[str, Any]) -> str:
    cpus = facts.get("cpus")
    told = [
        facts.get("model"),
        facts.get("cpu") if facts.get("cpu") != facts.get("model") else None,
        f"{cpus} core{'s' * (cpus != 1)}" if cpus else None,
        facts.get("gpu"),
        f"{facts['memory_gb']:.1f} GB" if facts.get("memory_gb") else None,
        facts.get("arch"),
        facts.get("os"),
    ]
    versions = facts.get("versions") or {}
    told += [f"{name} {version}" for name, version in versions.items()]
    return ", ".join(str(part) for part in told if part and part != "unknown")


def _scenario(row: Row) -> str:
    conditions = row.scenario
    told = [f"scenario {scenario_of(row)}"]
    if conditions.get("description"):
        told.append(str(conditions["description"]))
    for key, text in (
        ("warmup_runs", "{} runs thrown away first"),
        ("min_runs", "at least {} samples"),
        ("min_seconds", "covering at least {} s"),
        ("tile", "tiles of {} pixels"),
    ):
        if conditions.get(key):
            told.append(text.format(conditions[key]))
    if conditions.get("sustained"):
        told.append("each artifact alone, without a pause")
    elif conditions.get("turn_seconds"):
        told.append(f"artifacts took turns of {conditions['turn_seconds']} s")
    return "; ".join(told)


def _conditions(states: Sequence[dict[str, Any]]) -> str:
    """Power mode, clocks, temperatures and load, as ranges over the artifacts."""
    told = [str(m) for m in dict.fromkeys(s.get("power_mode") for s in states) if m]
    for key, unit in (("clocks_mhz", "MHz"), ("temperatures_c", "°C")):
        names = dict.fromkeys(name for state in states for name in state.get(key) or {})
        for name in names:
            values = [state[key][name] for state in states if name in (state.get(key) or {})]
            told.append(f"{name} {_range(values)} {unit}")
    if loads := [s["load_1min"] for s in states if s.get("load_1min") is not None]:
        told.append(f"load over a minute {_range(loads, 1)}")
    told += [str(m) for m in dict.fromkeys(s.get("thermal") for s in states) if m]
    return ", ".join(told)


def _range(values: Sequence[float], digits: int = 0) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low}–{high}"


def _quality(rows: Sequence[Row]) -> str:
    kinds = dict.fromkeys(
        f"{row.protocol} on {row.data}, {row.n_images} images"
        for row in rows
        if row.protocol and row.n_images
    )
    return "; ".join(kinds)


def _span(rows: Sequence[Row]) -> list[str]:
    times = sorted(row.started.replace("T", " ")[:16] for row in rows if row.started)
    return list(dict.fromkeys([f"{times[0]} UTC", f"{times[-1]} UTC"])) if times else []


def _noted(rows: Sequence[Row]) -> list[str]:
    return [f"{note.rstrip('.')}." for note in dict.fromkeys(row.note for row in rows) if note]
