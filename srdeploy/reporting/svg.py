"""The report's plots as SVG: colours come from the page's style, so that both its themes fit.

Axes begin and end where the data do. A range smaller than what matters is not stretched over the
whole height: a curve that moves by a fifth of a decibel looks flat, because it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from srdeploy.util.svg_plot import scale, ticks

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Frame:
    """Size and margins of a plot, in its own pixels."""

    width: int
    height: int
    left: int = 58
    right: int = 20
    top: int = 16
    bottom: int = 46


WIDE = Frame(760, 400)
NARROW = Frame(360, 320, left=58, right=12)
"""On a phone: the same plot with letters as large, instead of one that is shrunk."""


LEAST_DB = 2.0
"""Decibels that the height of a plot of PSNR stands for, at least."""

LEAST_SHARE = 0.25
"""Share of the largest value that the height of any other plot stands for, at least."""


@dataclass(frozen=True)
class Bubble:
    """A point of :func:`bubbles`.

    Attributes:
        x: Latency.
        y: PSNR.
        area: Scales its disc.
        label: Stands beside it.
        told: Appears when it is pointed at.
        colour: Number of the style.
        front: On the Pareto front.
        below: Below bicubic: it stands at the lower edge and has no part in the axes.
    """

    x: float
    y: float
    area: float
    label: str
    told: str
    colour: int
    front: bool
    below: bool = False


@dataclass(frozen=True)
class Curve:
    """A line of :func:`curves`."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int


def both(draw: object, *args: object, **options: object) -> str:
    """A figure that has the plot for wide windows and the one for phones."""
    assert callable(draw)
    wide = draw(*args, frame=WIDE, **options)
    narrow = draw(*args, frame=NARROW, **options)
    return f'<div class="plot wide">{wide}</div><div class="plot narrow">{narrow}</div>'


def bubbles(
    points: Sequence[Bubble],
    x_label: str,
    y_label: str,
    *,
    frame: Frame,
    floor: float | None = None,
) -> str:
    """PSNR over latency: discs with their area as MACs, and the front as a stepped line.

    Args:
        points: What is shown.
        x_label: Of the horizontal axis.
        y_label: Of the vertical one.
        frame: Size and margins.
        floor: PSNR of bicubic upscaling, drawn as a line where it is not far below the points.
    """
    useful = [p for p in points if not p.below] or points
    xs, ys = [p.x for p in points], [p.y for p in useful]
    shown = floor is not None and abs(min(ys) - floor) < LEAST_DB
    if floor is not None and shown:
        ys.append(floor)
    x_span = _span(min(xs), max(xs), LEAST_SHARE * max(xs), pad=0.12)
    y_span = _span(min(ys), max(ys), LEAST_DB, pad=0.15)
    place_x = scale(*x_span, frame.left, frame.width - frame.right, float)
    place_y = scale(*y_span, frame.height - frame.bottom, frame.top, float)
    largest = max((p.area for p in points), default=1.0) or 1.0
    most = 26 if frame is WIDE else 17
    x_ticks, y_ticks = _inside(x_span, _wanted(frame)), _inside(y_span, 6)
    parts = _axes(frame, x_ticks, y_ticks, place_x, place_y, x_label, y_label)
    if floor is not None and shown:
        y, right = place_y(floor), frame.width - frame.right
        parts.append(
            f'<line class="floor" x1="{frame.left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(right, y - 5, f"bicubic {floor:.2f}", "end", "below"))
    front = sorted((p.x, p.y) for p in points if p.front)
    if len(front) > 1:
        path = " ".join(f"{place_x(x):.1f},{place_y(y):.1f}" for x, y in front)
        parts.append(f'<polyline class="front" points="{path}"/>')
    edge = frame.height - frame.bottom - 8.0
    places = [
        (place_x(p.x), edge, 5.0)
        if p not in useful
        else (place_x(p.x), place_y(p.y), max(4.0, most * math.sqrt(p.area / largest)))
        for p in points
    ]
    taken: list[Box] = [(x - r, y - r, x + r, y + r) for x, y, r in places]
    labels = []
    for point, (x, y, radius) in zip(points, places, strict=True):
        told = f"<title>{escape(point.told)}</title>"
        label = point.label
        if point in useful:
            style = f"s{point.colour % 6}" + (" on" if point.front else "")
            parts.append(
                f'<circle class="bubble {style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}">'
                f"{told}</circle>"
            )
        else:
            corners = f"{x - 6:.1f},{y - 5:.1f} {x + 6:.1f},{y - 5:.1f} {x:.1f},{y + 6:.1f}"
            parts.append(f'<polygon class="below" points="{corners}">{told}</polygon>')
            label += f" {point.y:.2f}"
        labels.append(_label(label, x, y, radius, frame, taken))
    return _svg(frame, [*parts, *labels], f"{y_label} over {x_label}")


def curves(
    lines: Sequence[Curve],
    x_label: str,
    y_label: str,
    *,
    frame: Frame,
    least: float | None = None,
    dots: bool = False,
) -> str:
    """Lines over a common axis.

    Args:
        lines: What is shown.
        x_label: Of the horizontal axis.
        y_label: Of the vertical one.
        frame: Size and margins.
        least: What the height stands for at least; default: :data:`LEAST_SHARE` of the largest.
        dots: Mark every point.
    """
    points = [point for line in lines for point in line.points]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_span = _span(min(xs), max(xs), 1e-9)
    y_span = _span(min(ys), max(ys), LEAST_SHARE * max(ys) if least is None else least, pad=0.05)
    place_x = scale(*x_span, frame.left, frame.width - frame.right, float)
    place_y = scale(*y_span, frame.height - frame.bottom, frame.top, float)
    x_ticks, y_ticks = _inside(x_span, _wanted(frame)), _inside(y_span, 6)
    parts = _axes(frame, x_ticks, y_ticks, place_x, place_y, x_label, y_label)
    for line in lines:
        places = [(place_x(x), place_y(y)) for x, y in line.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line s{line.colour % 6}" points="{path}"/>')
        if dots:
            parts += [
                f'<circle class="dot s{line.colour % 6}" cx="{x:.1f}" cy="{y:.1f}" r="4">'
                f"<title>{escape(line.name)}: {px:g}, {py:.2f}</title></circle>"
                for (x, y), (px, py) in zip(places, line.points, strict=True)
            ]
    return _svg(frame, parts, f"{y_label} over {x_label}")


def _span(low: float, high: float, least: float, pad: float = 0.0) -> tuple[float, float]:
    """Where an axis begins and ends: at the data, at least ``least`` apart, never below 0 for it.

    ``pad`` is added at each end, as a share of the range.
    """
    room = max(high - low, least, 1e-9)
    middle = (low + high) / 2
    first, last = middle - room / 2 - pad * room, middle + room / 2 + pad * room
    return (0.0, last - first) if low >= 0 > first else (first, last)


def _inside(span: tuple[float, float], wanted: int) -> list[float]:
    """The round numbers that lie on an axis."""
    low, high = span
    room = (high - low) * 1e-6
    return [tick for tick in ticks(low, high, wanted) if low - room <= tick <= high + room]


def stages(
    names: Sequence[str], values: Sequence[float], y_label: str, unit: str, *, frame: Frame
) -> str:
    """One figure per stage, joined, with its value and its change written beside it."""
    span = _span(min(values), max(values), LEAST_DB, pad=0.35)
    step = (frame.width - frame.left - frame.right) / len(names)
    place_y = scale(*span, frame.height - frame.bottom, frame.top, float)
    parts = _axes(frame, [], _inside(span, 5), float, place_y, "", y_label)
    places = [(frame.left + step * (i + 0.5), place_y(v)) for i, v in enumerate(values)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f'<polyline class="line s0" points="{path}"/>')
    for number, ((x, y), name, value) in enumerate(zip(places, names, values, strict=True)):
        parts.append(f'<circle class="dot s0" cx="{x:.1f}" cy="{y:.1f}" r="6"/>')
        parts.append(_text(x, frame.height - frame.bottom + 22, name, "middle", "name"))
        beside = [*values[max(number - 1, 0) : number], *values[number + 1 : number + 2]]
        valley = len(beside) == 2 and value < min(beside)  # above it the lines would cross the text
        above = y + 25 if valley else y - 14
        parts.append(_text(x, above, f"{value:.2f}{unit}", "middle", "value"))
        if number:
            change = value - values[number - 1]
            parts.append(
                _text(
                    x,
                    frame.height - frame.bottom + 38,
                    f"{change:+.2f}".replace("-", "−"),
                    "middle",
                    "tick",
                )
            )
    return _svg(frame, parts, y_label)


def _wanted(frame: Frame) -> int:
    return 8 if frame is WIDE else 4


def _axes(
    frame: Frame,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    place_x: object,
    place_y: object,
    x_label: str,
    y_label: str,
) -> list[str]:
    assert callable(place_x)
    assert callable(place_y)
    right, low = frame.width - frame.right, frame.height - frame.bottom
    parts = []
    for tick in y_ticks:
        y = place_y(tick)
        parts.append(
            f'<line class="grid" x1="{frame.left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(_text(frame.left - 8, y + 4, f"{tick:g}", "end", "tick"))
    for tick in x_ticks:
        x = place_x(tick)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{low}" y2="{low + 4}"/>')
        parts.append(_text(x, low + 19, f"{tick:g}", "middle", "tick"))
    parts.append(f'<line class="axis" x1="{frame.left}" x2="{right}" y1="{low}" y2="{low}"/>')
    if x_label:
        parts.append(_text((frame.left + right) / 2, frame.height - 6, x_label, "middle", "label"))
    middle = (frame.top + low) / 2
    parts.append(
        f'<text class="label" text-anchor="middle" transform="translate(13 {middle:.0f}) '
        f'rotate(-90)">{escape(y_label)}</text>'
    )
    return parts


def _label(text: str, x: float, y: float, radius: float, frame: Frame, taken: list[Box]) -> str:
    """The text beside its bubble where nothing else is; left out where everything is full."""
    width, gap = 7.6 * len(text), radius + 5
    centred = min(max(x - width / 2, frame.left + 1), frame.width - width - 1)
    for left, base, anchor in (
        (x + gap, y + 4, "start"),
        (x - gap - width, y + 4, "end"),
        *((centred, y - gap - 2 - line * 15, "start") for line in range(3)),
        *((centred, y + gap + 11 + line * 15, "start") for line in range(3)),
    ):
        box = left, base - 11, left + width, base + 3
        inside = frame.left < box[0] and box[2] < frame.width and box[1] > 0
        if (
            inside
            and box[3] < frame.height - frame.bottom
            and not any(_overlap(box, other) for other in taken)
        ):
            taken.append(box)
            at = left if anchor == "start" else left + width
            return _text(at, base, text, anchor, "name")
    return ""


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _text(x: float, y: float, content: str, anchor: str, style: str) -> str:
    return (
        f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f"{escape(content)}</text>"
    )


def _svg(frame: Frame, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg>'
    )
