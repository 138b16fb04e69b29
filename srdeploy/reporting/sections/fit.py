"""The fit: what was considered for a budget, what was chosen, and what is next to it."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from srdeploy.benchmarking.showing.table import milliseconds
from srdeploy.fitting.neighbours import for_more, next_better, next_cheaper
from srdeploy.fitting.result import FitResult, Point
from srdeploy.reporting import html
from srdeploy.reporting.svg import Bubble, both, bubbles

if TYPE_CHECKING:
    from srdeploy.reporting.data import ReportData


def fit(data: ReportData) -> str | None:
    """A figure and two tables for each fit."""
    return "".join(map(_one, data.evidence.fits)) or None


def _one(result: FitResult) -> str:
    height, width = result.input
    title = f"{result.network}, {width}x{height} within {result.budget_ms:.4g} ms on {result.model}"
    kept = "keeps" if result.met else "does not keep"
    told = (
        f"The artifact {kept} the budget: {milliseconds(result.p50_ms)} ms measured, "
        f"{milliseconds(result.predicted_ms)} ms predicted, in {_way(result)}"
        + (f", without the residual blocks {', '.join(result.blocks)}." if result.blocks else ".")
    )
    sentences = " ".join((told, *(f"{one}." for one in result.shortfall), for_more(result)))
    return html.lead(sentences) + _figure(result, title) + _table(result) + _widths(result)


def _figure(result: FitResult, title: str) -> str:
    shown = [(p, psnr) for p in result.points if (psnr := _psnr(p)) is not None]
    if not shown:
        return ""
    ways = list(dict.fromkeys(_way(point) for point, _ in shown))
    points = [
        Bubble(
            _ms(point),
            psnr,
            float(point.channels),
            "" if point.p50_ms is None else "made",
            f"{_way(point)}, {'predicted' if point.p50_ms is None else 'measured'}: "
            f"{milliseconds(_ms(point))} ms, {psnr:.2f} dB",
            ways.index(_way(point)),
            not any(_ms(p) <= _ms(point) and other > psnr for p, other in shown),
        )
        for point, psnr in shown
    ]
    drawing = both(bubbles, points, "latency, ms", "mean PSNR, dB")
    caption = (
        "All that was considered. Named: made and measured; the others are predicted, before "
        f"anything is learned. Area: channels. {result.protocol or ''}"
    )
    return html.figure(html.legend(ways) + drawing, caption, title)


def _table(result: FitResult) -> str:
    chosen = [
        "chosen", milliseconds(result.p50_ms),
        "–" if result.psnr is None else f"{result.psnr:.2f}", escape(_way(result)), "measured",
    ]  # fmt: skip
    rows = [chosen]
    for name, point in (
        ("next better", next_better(result)),
        ("next cheaper", next_cheaper(result)),
    ):
        if point is not None:
            psnr = _psnr(point)
            rows.append([
                name, milliseconds(_ms(point)), "–" if psnr is None else f"{psnr:.2f}",
                escape(_way(point)), "predicted",
            ])  # fmt: skip
    return html.table(["network", "ms", "PSNR, dB", "runs in", "known from"], rows)


def _widths(result: FitResult) -> str:
    rows = [[escape(layer), escape(why)] for layer, why in result.why.items()]
    return html.table(["first layer of the group", "why so many channels"], rows, texts=2)


def _ms(point: Point) -> float:
    return point.predicted_ms if point.p50_ms is None else point.p50_ms


def _psnr(point: Point) -> float | None:
    found = point.predicted_psnr if point.psnr is None else point.psnr
    return found if found is not None and math.isfinite(found) else None


def _way(one: Point | FitResult) -> str:
    return f"{one.runtime or 'its own runtime'} {one.precision}"
