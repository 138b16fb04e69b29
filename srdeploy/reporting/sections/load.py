"""Under lasting load: how the device behaves while it gets warm."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from srdeploy.benchmarking.measuring.row import Row
from srdeploy.reporting import html
from srdeploy.reporting.figures import name_of
from srdeploy.reporting.sources import SourceEntry
from srdeploy.reporting.svg import Curve, both, curves

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData

LASTING = 30.0
"""Seconds of samples from which a run shows how the device behaves under load."""

_POINTS = 120


def load(data: ReportData) -> str | None:
    """Latency over time of runs that lasted, with what it drifted."""
    figures = []
    for group in data.groups:
        lasting = [
            entry
            for entry in group.entries
            if entry.measurement.scenario.sustained
            or sum(entry.row.samples_ms) >= LASTING * 1e3
            or entry.row.drift is not None
        ]
        lasting = [entry for entry in lasting if len(entry.row.samples_ms) > 1]
        if not lasting:
            continue
        lines = [
            Curve(name_of(entry.row), _over_time(entry), number)
            for number, entry in enumerate(lasting)
        ]
        told = "; ".join(_drifted(entry.row) for entry in lasting if entry.row.drift is not None)
        drawing = both(curves, lines, "time it ran, s", "latency, ms")
        names = html.legend([line.name for line in lines])
        figures.append(html.figure(names + drawing, told, group.title))
        heat = [
            Curve(name_of(entry.row), points, number)
            for number, entry in enumerate(lasting)
            if len(points := _hottest(entry)) > 1
        ]
        if heat:
            names = html.legend([line.name for line in heat])
            drawing = both(curves, heat, "time, s", "hottest sensor, °C", least=10.0)
            figures.append(html.figure(names + drawing, "", f"{group.title}: temperature"))
    return "".join(figures) or None


def _hottest(entry: SourceEntry) -> list[tuple[float, float]]:
    """Of every reading the highest temperature, degrees Celsius."""
    return [
        (reading.seconds, max(reading.temperatures_c.values()))
        for reading in entry.measurement.readings
        if reading.temperatures_c
    ]


def _over_time(entry: SourceEntry) -> list[tuple[float, float]]:
    """Medians of equal parts of the samples, over the time the network had run by then."""
    samples = entry.row.samples_ms
    size = max(1, -(-len(samples) // _POINTS))
    points, passed = [], 0.0
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        points.append(((passed + sum(part) / 2) / 1e3, median(part)))
        passed += sum(part)
    return points


def _drifted(row: Row) -> str:
    if row.drift_low is None:
        return f"{name_of(row)}: {row.drift:.2f} times as long at the end as at the beginning"
    return (
        f"{name_of(row)}: {row.drift:.2f} times as long in the last tenth as in the first "
        f"(95 % interval {row.drift_low:.2f} to {row.drift_high:.2f})"
    )
