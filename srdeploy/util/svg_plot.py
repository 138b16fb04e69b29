"""Line plots as SVG text: enough for a report, without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#8c8c8c", "#1f77b4", "#ff9f40", "#d62728", "#2ca02c", "#9467bd", "#111111", "#17becf")
WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 56


@dataclass(frozen=True)
class PlotSeries:
    """A line; without a name it stays out of the legend, ``colour`` defaults to its place."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None = None
    dashed: bool = False


def line_plot(
    series: Sequence[PlotSeries],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    y_min: float | None = None,
) -> str:
    """An SVG document; points below ``y_min`` are cut off at the frame."""
    points = [p for s in series for p in s.points]
    if not points:
        points = [(1.0, 0.0)]
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low = min(ys) if y_min is None else max(y_min, min(ys))
    x_ticks = log_ticks(min(xs), max(xs)) if log_x else ticks(min(xs), max(xs))
    y_ticks = ticks(low, max(ys))
    place_x = scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT, math.log if log_x else float)
    place_y = scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP, float)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<clipPath id="frame"><rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{HEIGHT - TOP - BOTTOM}"/></clipPath>',
        text(WIDTH / 2 - RIGHT / 2 + LEFT / 2, 20, title, "middle", 'font-size="14"'),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, "middle"),
        text(0, 0, y_label, "middle",
             f'transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)"'),
    ]  # fmt: skip
    for tick in x_ticks:
        x = place_x(tick)
        parts.append(line(x, TOP, x, HEIGHT - BOTTOM, "#e6e6e6"))
        parts.append(text(x, HEIGHT - BOTTOM + 18, f"{tick:g}", "middle"))
    for tick in y_ticks:
        y = place_y(tick)
        parts.append(line(LEFT, y, WIDTH - RIGHT, y, "#e6e6e6"))
        parts.append(text(LEFT - 8, y + 4, f"{tick:g}", "end"))
    legend = 0
    for number, one in enumerate(series):
        colour = COLOURS[(number if one.colour is None else one.colour) % len(COLOURS)]
        places = [(place_x(x), place_y(y)) for x, y in one.points]
        dash = ' stroke-dasharray="5 4"' if one.dashed else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(
            f'<g clip-path="url(#frame)"><polyline points="{path}" fill="none" '
            f'stroke="{colour}" stroke-width="2"{dash}/>'
        )
        if not one.dashed:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places
            ]
        parts.append("</g>")
        if one.name and one.points:
            y = TOP + 12 + 20 * legend
            parts.append(line(WIDTH - RIGHT + 12, y, WIDTH - RIGHT + 36, y, colour, 3))
            parts.append(text(WIDTH - RIGHT + 42, y + 4, one.name, "start"))
            legend += 1
    return "\n".join([*parts, "</svg>", ""])


def scale(
    low: float, high: float, start: float, end: float, transform: Callable[[float], float]
) -> Callable[[float], float]:
    """A value's place on an axis."""
    first, last = transform(low), transform(high)
    return lambda v: start + (transform(v) - first) / ((last - first) or 1) * (end - start)


def ticks(low: float, high: float, wanted: int = 7) -> list[float]:
    """Round numbers that enclose a range."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9) / wanted))
    for factor in (1, 2, 5, 10):
        if (high - low) / (step * factor) <= wanted:
            step *= factor
            break
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * i, 10) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20... that enclose a range."""
    steps = [m * 10.0**e for e in range(-6, 16) for m in (1, 2, 5)]
    first = max(i for i, s in enumerate(steps) if s <= low * (1 + 1e-9))
    last = min(i for i, s in enumerate(steps) if s >= high * (1 - 1e-9))
    return steps[first : max(last, first + 1) + 1]


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    """An SVG line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"/>'
    )


def text(x: float, y: float, content: str, anchor: str, more: str = "") -> str:
    """An SVG text."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(content)}</text>'
