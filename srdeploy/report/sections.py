"""The sections of a report about measurements: plots, tables, load and energy, baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from statistics import median

from srdeploy.bench.row import Row
from srdeploy.bench.stats import turns_of
from srdeploy.bench.table import milliseconds
from srdeploy.bench.verdict import Verdict
from srdeploy.bench.verdict_table import WORDS, notes
from srdeploy.report import html
from srdeploy.report.figures import (
    Group,
    below_bicubic,
    kind_of,
    name_of,
    psnr_of,
    quantity,
    ssim_of,
    told_apart,
    usual_kind,
)
from srdeploy.report.sources import Entry
from srdeploy.report.svg import Bubble, Curve, both, bubbles, curves

LASTING = 30.0
"""Seconds of samples from which a run shows how the device behaves under load."""

_POINTS = 120


def _on_axis(psnr: float | None) -> bool:
    """Whether there is a place for it: of pictures that equal their originals there is none."""
    return psnr is not None and math.isfinite(psnr)


def plots(groups: Sequence[Group]) -> str:
    """PSNR over latency per device and scenario; empty where no PSNR was measured."""
    figures = []
    for group in groups:
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
        title = f"{group.device} · {group.scenario}"
        figures.append(html.figure(html.legend(runtimes) + drawing, caption, title))
    return "".join(figures)


def _runtime(row: Row) -> str:
    return " ".join(part for part in (row.runtime, row.precision) if part) or "unknown runtime"


def results(groups: Sequence[Group]) -> str:
    """A table per device and scenario, by latency; rows without any figure are folded away."""
    parts = []
    for group in groups:
        title = f"<h3>{escape(group.device)} · {escape(group.scenario)}</h3>"
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
    return "".join(parts)


def _has_figures(row: Row) -> bool:
    return row.p50_ms is not None or psnr_of(row) is not None


def _results(entries: Sequence[Entry], group: Group) -> str:
    rows = [_result(entry, group.on_front(entry)) for entry in entries]
    head = ["artifact", "runtime", "median ms", "90 %", "faster", "PSNR dB", "SSIM", "MACs"]
    head += ["params", "memory MB", "energy mJ"]
    used = [i for i in range(len(head)) if any(row[i] not in ("", "–") for row in rows)]
    return html.table(
        [head[i] for i in used],
        [[row[i] for i in used] for row in rows],
        texts=sum(i < 2 for i in used),
    )


def _result(entry: Entry, front: bool) -> list[str]:
    row = entry.row
    mark = '<b class="badge">front</b>' if front else ""
    if below_bicubic(row):
        mark = '<b class="verdict fail">below bicubic</b>'
    psnr, ssim = psnr_of(row), ssim_of(row)
    where = ", ".join(part for part in (row.provider, row.precision) if part)
    return [
        f"<strong>{escape(name_of(row))}</strong>{mark}",
        f"{escape(row.runtime or '–')} {html.soft(where)}",
        milliseconds(row.p50_ms) if row.p50_ms is not None else "–",
        milliseconds(row.p90_ms) if row.p90_ms is not None else "–",
        speedup(row),
        "–" if psnr is None else f"{psnr:.2f}",
        "–" if ssim is None else f"{ssim:.4f}",
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


def failures(entries: Sequence[Entry]) -> str:
    """What failed, and why."""
    failed = [entry.row for entry in entries if entry.row.error]
    items = "".join(
        f"<li><strong>{escape(name_of(row))}</strong> on {escape(row.device)}: "
        f"{escape(row.error or '')}</li>"
        for row in failed
    )
    return f'<ul class="card plain">{items}</ul>' if items else ""


def load(groups: Sequence[Group]) -> str:
    """Latency over time of runs that lasted, with what it drifted."""
    figures = []
    for group in groups:
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
        title = f"{group.device} · {group.scenario}"
        names = html.legend([line.name for line in lines])
        figures.append(html.figure(names + drawing, told, title))
        heat = [
            Curve(name_of(entry.row), points, number)
            for number, entry in enumerate(lasting)
            if len(points := _hottest(entry)) > 1
        ]
        if heat:
            names = html.legend([line.name for line in heat])
            drawing = both(curves, heat, "time, s", "hottest sensor, °C", least=10.0)
            figures.append(html.figure(names + drawing, "", f"{title}: temperature"))
    return "".join(figures)


def _hottest(entry: Entry) -> list[tuple[float, float]]:
    """Of every reading the highest temperature, degrees Celsius."""
    return [
        (reading.seconds, max(reading.temperatures_c.values()))
        for reading in entry.measurement.readings
        if reading.temperatures_c
    ]


def _over_time(entry: Entry) -> list[tuple[float, float]]:
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


def energy(groups: Sequence[Group]) -> str:
    """Power over time where sensors told it, and energy per image."""
    parts = []
    for group in groups:
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
        title = f"{group.device} · {group.scenario}: energy per image"
        parts.append(html.figure(bars + names + drawing, caption, title))
    return "".join(parts)


def _watts(entry: Entry) -> list[tuple[float, float]]:
    power = entry.measurement.power
    rails = power.rails if power is not None else ()
    return [
        (reading.seconds, sum(reading.power_w[rail] for rail in rails or reading.power_w))
        for reading in entry.measurement.readings
        if reading.power_w and all(rail in reading.power_w for rail in rails)
    ]


def baseline(found: Verdict) -> str:
    """What is slower or worse than it was."""
    head = ["artifact", "device, scenario", "before ms", "now ms", "slower by", "PSNR lost"]
    head += ["verdict"]
    rows = []
    for line in found.lines:
        slower = "–"
        if line.slowdown is not None:
            slower = f"{line.slowdown:+.1%}"
            if line.slowdown_low is not None and line.slowdown_high is not None:
                spread = f"{line.slowdown_low:+.1%} to {line.slowdown_high:+.1%}"
                slower += f" {html.soft(spread)}"
        word = WORDS[line.verdict]
        rows.append([
            f"<strong>{escape(line.artifact)}</strong>",
            f"{escape(line.device)} {html.soft(line.scenario)}",
            "–" if line.base_ms is None else milliseconds(line.base_ms),
            "–" if line.new_ms is None else milliseconds(line.new_ms),
            slower,
            "–" if line.drop is None else f"{line.drop:+.2f} dB",
            f'<b class="verdict {line.verdict or "none"}">{escape(word)}</b>',
        ])  # fmt: skip
    told = "".join(f"<li>{escape(note)}</li>" for note in notes(found))
    listed = f'<ul class="notes">{told}</ul>' if told else ""
    return f'<div class="card scroll">{html.table(head, rows, texts=2)}</div>{listed}'


def rounds(entry: Entry) -> int:
    """In how many turns the samples were taken."""
    return len(turns_of(entry.measurement))
