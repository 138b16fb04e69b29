"""Quality and latency: PSNR over latency."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.showing.table import milliseconds
from srdeploy.reporting import html
from srdeploy.reporting.figures import (
    below_bicubic,
    kind_of,
    name_of,
    psnr_of,
    quantity,
    usual_kind,
)
from srdeploy.reporting.svg import Bubble, both, bubbles

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def _on_axis(psnr: float | None) -> bool:
    """Whether there is a place for it: of pictures that equal their originals there is none."""
    return psnr is not None and math.isfinite(psnr)


def plot(data: ReportData) -> str | None:
    """A figure per device and scenario; None where no PSNR was measured."""
    figures = []
    for group in data.groups:
        rows = [
            (entry, entry.row.p50_ms, psnr_of(entry.row))
            for entry in group.entries
            if entry.row.p50_ms is not None and _on_axis(psnr_of(entry.row))
        ]
        if not rows:
            continue
        kind = usual_kind([entry.row for entry, *_ in rows])
        rows = [row for row in rows if kind_of(row[0].row) == kind]
        runtimes = list(dict.fromkeys(_runtime(entry.row) for entry, *_ in rows))
        points = [
            Bubble(
                ms or 0.0,
                psnr or 0.0,
                float(entry.row.macs_720p or 0),
                name_of(entry.row),
                f"{name_of(entry.row)}, {_runtime(entry.row)}: {milliseconds(ms)} ms, "
                f"{psnr:.2f} dB, {quantity(entry.row.macs_720p)} MACs",
                runtimes.index(_runtime(entry.row)),
                group.on_front(entry),
                below_bicubic(entry.row),
            )
            for entry, ms, psnr in rows
        ]
        floor = next((e.row.psnr_bicubic for e, *_ in rows if _on_axis(e.row.psnr_bicubic)), None)
        drawing = both(bubbles, points, "median latency, ms", "mean PSNR, dB", floor=floor)
        caption = (
            f"{kind[0]}, {kind[1]}. Area: multiply-accumulates for a 1280×720 output. Filled: on "
            "the Pareto front: nothing here is both faster and better."
        )
        if any(point.below for point in points):
            caption += " At the lower edge, out of scale: below bicubic."
        figures.append(html.figure(html.legend(runtimes) + drawing, caption, group.title))
    return "".join(figures) or None


def _runtime(row: Row) -> str:
    return " ".join(part for part in (row.runtime, row.precision) if part) or "unknown runtime"
