"""Line plots: where points and ticks stand, and that text is text."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from srdeploy.util import svg_plot
from srdeploy.util.svg_plot import (
    COLOURS,
    HEIGHT,
    LEFT,
    TOP,
    WIDTH,
    PlotSeries,
    line_plot,
    log_ticks,
    scale,
    ticks,
)

RIGHT, BOTTOM = WIDTH - svg_plot.RIGHT, HEIGHT - svg_plot.BOTTOM


def drawn(*series: PlotSeries, **options: object) -> ElementTree.Element:
    words = {"title": "a <b> & c", "x_label": "<x>", "y_label": "y & z"}
    return ElementTree.fromstring(line_plot(series, **(words | options)))  # type: ignore[arg-type]


def texts(root: ElementTree.Element) -> list[str]:
    return [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}text")]


def lines(root: ElementTree.Element) -> list[list[tuple[float, float]]]:
    return [
        [
            (float(x), float(y))
            for x, y in (pair.split(",") for pair in one.get("points", "").split())
        ]
        for one in root.iter("{http://www.w3.org/2000/svg}polyline")
    ]


def test_corners_of_the_data_are_corners_of_the_frame() -> None:
    root = drawn(PlotSeries("up", [(0, 0), (50, 5), (100, 10)]))
    (line,) = lines(root)
    assert line == [(LEFT, BOTTOM), ((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2), (RIGHT, TOP)]
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert [(float(c.get("cx", "")), float(c.get("cy", ""))) for c in circles] == line
    assert texts(root)[:3] == ["a <b> & c", "<x>", "y & z"]
    assert texts(root)[3:] == [
        *("0", "20", "40", "60", "80", "100"), *("0", "2", "4", "6", "8", "10"), "up",
    ]  # fmt: skip


def test_text_is_escaped() -> None:
    text = line_plot(
        [PlotSeries('<script>"', [(0, 1), (1, 2)])], title="<&>", x_label="", y_label=""
    )
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "&lt;&amp;&gt;" in text
    assert svg_plot.text(1, 2.25, "a<b", "end").startswith(
        '<text x="1.0" y="2.2" text-anchor="end"'
    )


def test_colours_dashes_and_the_legend() -> None:
    many = [PlotSeries(f"s{n}", [(0, n), (1, n)]) for n in range(9)]
    root = drawn(*many, PlotSeries("", [(0, 0)]),
                 PlotSeries("d", [(0, 1), (1, 1)], colour=2, dashed=True),
                 PlotSeries("empty", []))  # fmt: skip
    strokes = [one.get("stroke") for one in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert strokes[:9] == [*COLOURS, COLOURS[0]]
    assert strokes[10] == COLOURS[2]
    dashes = [
        one.get("stroke-dasharray") for one in root.iter("{http://www.w3.org/2000/svg}polyline")
    ]
    assert [n for n, dash in enumerate(dashes) if dash] == [10]
    assert texts(root)[-10:] == [*(f"s{n}" for n in range(9)), "d"]  # none without name or points
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 9 * 2 + 1
    legend = list(root.iter("{http://www.w3.org/2000/svg}text"))[-10:]
    places = [float(one.get("y", "")) for one in legend]
    steps = {round(b - a, 3) for a, b in pairwise(places)}
    assert len(steps) == 1  # evenly one below the other
    assert min(steps) >= 12
    assert all(float(one.get("x", "")) > RIGHT for one in legend)


def test_an_axis_may_begin_where_one_says_or_be_logarithmic() -> None:
    (own,) = lines(drawn(PlotSeries("a", [(0, 5), (1, 10)]), y_min=0.0))
    assert own[0][1] == BOTTOM  # all points are above it: the axis begins at theirs
    (cut,) = lines(drawn(PlotSeries("a", [(0, -5), (1, 10)]), y_min=0.0))
    assert cut[0][1] > BOTTOM
    assert cut[1][1] == TOP
    (log,) = lines(drawn(PlotSeries("a", [(1, 0), (10, 1), (100, 2)]), log_x=True))
    assert [x for x, _ in log] == pytest.approx([LEFT, (LEFT + RIGHT) / 2, RIGHT])


def test_nothing_to_draw_is_a_frame() -> None:
    assert lines(drawn()) == []
    assert lines(drawn(PlotSeries("a", []))) == [[]]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 7, [0, 1, 2, 3, 4, 5, 6, 7]),
        (0, 7.1, [0, 2, 4, 6, 8]),
        (0.03, 0.21, [0, 0.05, 0.1, 0.15, 0.2, 0.25]),
        (95, 130, [95, 100, 105, 110, 115, 120, 125, 130]),
        (-3, 40, [-10, 0, 10, 20, 30, 40]),
        (5, 5, [5, 5.0000000001]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]) -> None:
    found = ticks(low, high)
    assert found == pytest.approx(expected, abs=1e-8)
    assert found[0] <= low + 1e-8
    assert found[-1] >= high - 1e-8


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1, 10, [1, 2, 5, 10]), (3, 30, [2, 5, 10, 20, 50]), (5, 5, [5, 10]), (0.01, 0.1,
     [0.01, 0.02, 0.05, 0.1]), (1e-6, 2e-6, [1e-6, 2e-6]), (1e15, 4e15, [1e15, 2e15, 5e15])],
)  # fmt: skip
def test_log_ticks(low: float, high: float, expected: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(expected)


def test_scale() -> None:
    place = scale(1, 100, 0, 10, math.log10)
    assert [place(v) for v in (1, 10, 100)] == pytest.approx([0, 5, 10])
    assert scale(2, 2, 30, 40, float)(2) == 30


def test_line_and_text_keep_one_decimal() -> None:
    assert svg_plot.line(1.04, 2, 3.16, 4, "#000") == (
        '<line x1="1.0" y1="2.0" x2="3.2" y2="4.0" stroke="#000" stroke-width="1"/>'
    )
    assert re.search(r'x="0.1" y="9.9"', svg_plot.text(0.06, 9.94, "t", "middle", "k"))
