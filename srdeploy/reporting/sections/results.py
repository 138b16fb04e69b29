"""Results by device and runtime: the figures as tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.showing.table import milliseconds
from srdeploy.quality.metrics import METRICS
from srdeploy.reporting import html
from srdeploy.reporting.figures import (
    FigureGroup,
    below_bicubic,
    name_of,
    psnr_of,
    quantity,
    told_apart,
)
from srdeploy.reporting.sources import SourceEntry

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData

_LEAD = (
    "Fastest first. Ratios refer to the first artifact of the same run, taken in turns with it; "
    "the small figures are their 95 % interval."
)


def results(data: ReportData) -> str | None:
    """A table per device and scenario, by latency; rows without any figure are folded away."""
    parts = []
    for group in data.groups:
        title = f"<h3>{escape(group.title)}</h3>"
        told = [entry for entry in group.entries if _has_figures(entry.row)]
        silent = [entry for entry in group.entries if not _has_figures(entry.row)]
        body = _results(told, group) if told else ""
        if silent:
            rows = "s" * (len(silent) > 1)
            body += (
                f"<details><summary>{len(silent)} row{rows} without figures</summary>"
                f"{_results(silent, group)}</details>"
            )
        parts.append(f'<div class="card scroll">{title}{body}</div>')
    return html.lead(_LEAD) + "".join(parts) if parts else None


def _has_figures(row: Row) -> bool:
    return row.p50_ms is not None or psnr_of(row) is not None


def _results(entries: Sequence[SourceEntry], group: FigureGroup) -> str:
    rows = [_result(entry, group.on_front(entry)) for entry in entries]
    head = ["artifact", "runtime", "median ms", "90 %", "faster"]
    head += [metric.heading() for metric in METRICS.values()]
    head += ["MACs", "params", "memory MB", "energy mJ"]
    used = [i for i in range(len(head)) if any(row[i] not in ("", "–") for row in rows)]
    return html.table(
        [head[i] for i in used],
        [[row[i] for i in used] for row in rows],
        texts=sum(i < 2 for i in used),
    )


def _result(entry: SourceEntry, front: bool) -> list[str]:
    row = entry.row
    mark = '<b class="badge">front</b>' if front else ""
    if below_bicubic(row):
        mark = '<b class="verdict fail">below bicubic</b>'
    where = ", ".join(part for part in (row.provider, row.precision) if part)
    return [
        f"<strong>{escape(name_of(row))}</strong>{mark}",
        f"{escape(row.runtime or '–')} {html.soft(where)}",
        milliseconds(row.p50_ms) if row.p50_ms is not None else "–",
        milliseconds(row.p90_ms) if row.p90_ms is not None else "–",
        speedup(row),
        *(metric.number(row.figure(metric.name), "–") for metric in METRICS.values()),
        quantity(row.macs_720p),
        quantity(row.params),
        "–" if row.peak_mb is None else f"{row.peak_mb:.0f}",
        "–" if row.energy_mj is None else f"{row.energy_mj:.3g}",
    ]


def speedup(row: Row) -> str:
    """A ratio with its interval."""
    if row.speedup is None:
        return "–"
    figure = f"{row.speedup:.2f}×" if told_apart(row) else html.soft("no difference")
    if row.speedup_low is None:
        return figure
    return f"{figure} {html.soft(f'{row.speedup_low:.2f}–{row.speedup_high:.2f}')}"
