"""Energy: per image, and power over time."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from srdeploy.reporting import html
from srdeploy.reporting.figures import name_of
from srdeploy.reporting.sources import SourceEntry
from srdeploy.reporting.svg import Curve, both, curves

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def energy(data: ReportData) -> str | None:
    """Power over time where sensors told it, and energy per image."""
    parts = []
    for group in data.groups:
        known = [entry for entry in group.entries if entry.row.energy_mj is not None]
        if not known:
            continue
        most = max(entry.row.energy_mj or 0.0 for entry in known) or 1.0
        bars = "".join(
            f'<div class="bar"><span>{escape(name_of(entry.row))}</span><i><b class="s{n % 6}" '
            f'style="width:{100 * (entry.row.energy_mj or 0) / most:.1f}%"></b></i>'
            f"<span>{entry.row.energy_mj:.3g} mJ <small>{entry.row.power_w:.2f} W</small></span>"
            "</div>"
            for n, entry in enumerate(known)
        )
        lines = [
            Curve(name_of(entry.row), points, number)
            for number, entry in enumerate(known)
            if len(points := _watts(entry)) > 1
        ]
        drawing = both(curves, lines, "time, s", "power, W") if lines else ""
        names = html.legend([name_of(entry.row) for entry in known]) if lines else ""
        sources = dict.fromkeys(e.row.power_source for e in known if e.row.power_source)
        caption = " ".join(f"{source.rstrip('.')}." for source in sources)
        title = f"{group.title}: energy per image"
        parts.append(html.figure(bars + names + drawing, caption, title))
    return "".join(parts) or None


def _watts(entry: SourceEntry) -> list[tuple[float, float]]:
    power = entry.measurement.power
    rails = power.rails if power is not None else ()
    return [
        (reading.seconds, sum(reading.power_w[rail] for rail in rails or reading.power_w))
        for reading in entry.measurement.readings
        if reading.power_w and all(rail in reading.power_w for rail in rails)
    ]
