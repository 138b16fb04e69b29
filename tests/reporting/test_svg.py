"""Plots: axes begin where the data do, little is not drawn large, text is text."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from srdeploy.reporting.svg import (
    LEAST_DB,
    NARROW,
    WIDE,
    Bubble,
    Curve,
    Frame,
    _overlap,
    _span,
    both,
    bubbles,
    curves,
    stages,
)
from tests.golden import by_tags, same_as


def bubble(x: float, y: float, **changes: object) -> Bubble:
    values = {"area": 1.0, "label": "a", "told": "a", "colour": 0, "front": True}
    return Bubble(x, y, **{**values, **changes})  # type: ignore[arg-type]


def tree(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def heights(svg: str, frame: Frame) -> float:
    """Share of the plot's height that the first line covers."""
    (points,) = [e.get("points") or "" for e in tree(svg).iter("polyline")][:1]
    ys = [float(pair.split(",")[1]) for pair in points.split()]
    return (max(ys) - min(ys)) / (frame.height - frame.top - frame.bottom)


def labels(svg: str, style: str) -> list[str]:
    return [e.text or "" for e in tree(svg).iter("text") if e.get("class") == style]


def axis(svg: str, frame: Frame) -> tuple[list[float], list[float]]:
    """Numbers along x and along y."""
    root, xs, ys = tree(svg), [], []
    for e in root.iter("text"):
        if e.get("class") == "tick":
            (xs if e.get("text-anchor") == "middle" else ys).append(float(e.text or "nan"))
    return xs, ys


@pytest.mark.parametrize("frame", [WIDE, NARROW])
@pytest.mark.parametrize("move", [0.01, 0.2, 0.5])
def test_little_looks_little(frame: Frame, move: float) -> None:
    line = Curve("a", [(0, 34.0), (1000, 34.0 + move)], 0)
    drawn = curves([line], "iteration", "dB", frame=frame, least=LEAST_DB)
    assert heights(drawn, frame) == pytest.approx(move / (1.1 * LEAST_DB), abs=0.01)


def test_much_fills_the_height() -> None:
    line = Curve("a", [(0, 20.0), (1000, 34.0)], 0)
    drawn = curves([line], "iteration", "dB", frame=WIDE, least=LEAST_DB)
    assert heights(drawn, WIDE) == pytest.approx(1 / 1.1, abs=0.01)


def test_latency_that_hardly_moves_is_flat() -> None:
    line = Curve("a", [(0, 10.0), (60, 10.1)], 0)
    assert heights(curves([line], "s", "ms", frame=WIDE), WIDE) < 0.05


def test_axes_begin_and_end_with_the_data() -> None:
    line = Curve("a", [(1003, 30.0), (2991, 36.0)], 0)
    drawn = curves([line], "iteration", "dB", frame=WIDE, least=LEAST_DB)
    points = next(tree(drawn).iter("polyline")).get("points") or ""
    places = [float(pair.split(",")[0]) for pair in points.split()]
    assert places == pytest.approx([WIDE.left, WIDE.width - WIDE.right])
    xs, ys = axis(drawn, WIDE)
    assert min(xs) >= 1003
    assert max(xs) <= 2991
    assert min(ys) >= 29.7 - 1e-9
    assert max(ys) <= 36.3 + 1e-9
    assert len(xs) >= 3
    assert len(ys) >= 3
    assert len({round(b - a, 6) for a, b in pairwise(sorted(xs))}) == 1


def test_latencies_do_not_begin_at_zero_but_never_below() -> None:
    xs, _ = axis(bubbles([bubble(30, 33), bubble(40, 34)], "ms", "dB", frame=WIDE), WIDE)
    assert min(xs) > 20
    xs, _ = axis(bubbles([bubble(1, 33), bubble(40, 34)], "ms", "dB", frame=WIDE), WIDE)
    assert min(xs) >= 0


def test_what_is_below_bicubic_has_no_part_in_the_axes() -> None:
    lost = bubble(10.4, 19.9, below=True, front=False, label="pruned", told="19.9 dB")
    points = [bubble(10, 33.0), bubble(27, 34.4), lost]
    drawn = bubbles(points, "ms", "dB", frame=WIDE, floor=32.4)
    _, ys = axis(drawn, WIDE)
    assert min(ys) > 31
    root = tree(drawn)
    (mark,) = [e for e in root.iter("polygon") if e.get("class") == "below"]
    places = [tuple(map(float, p.split(","))) for p in (mark.get("points") or "").split()]
    low = WIDE.height - WIDE.bottom
    assert all(low - 20 < y < low for _, y in places)
    assert "pruned 19.90" in labels(drawn, "name")
    assert len(list(root.iter("circle"))) == 2
    assert labels(drawn, "below") == ["bicubic 32.40"]
    assert "bicubic" not in bubbles(points, "ms", "dB", frame=WIDE, floor=25.0)


def test_if_all_are_below_they_are_drawn_as_they_are() -> None:
    drawn = bubbles([bubble(10, 20.0, below=True)], "ms", "dB", frame=WIDE, floor=30.0)
    assert len(list(tree(drawn).iter("circle"))) == 1


def test_areas_are_proportional() -> None:
    drawn = bubbles([bubble(10, 33, area=4.0), bubble(20, 34, area=1.0)], "x", "y", frame=WIDE)
    big, small = [float(e.get("r") or 0) for e in tree(drawn).iter("circle")]
    assert big / small == pytest.approx(2.0, abs=0.05)


def test_more_is_to_the_right_and_higher() -> None:
    drawn = bubbles([bubble(10, 33), bubble(20, 34)], "x", "y", frame=WIDE)
    a, b = list(tree(drawn).iter("circle"))
    assert float(a.get("cx") or 0) < float(b.get("cx") or 0)
    assert float(a.get("cy") or 0) > float(b.get("cy") or 0)


def test_only_the_front_is_joined() -> None:
    points = [bubble(10, 33), bubble(15, 32.9, front=False), bubble(20, 34)]
    line = next(e for e in tree(bubbles(points, "x", "y", frame=WIDE)).iter("polyline"))
    assert line.get("class") == "front"
    assert len((line.get("points") or "").split()) == 2


@pytest.mark.parametrize("word", ["<b>&\"'", "a & b"])
def test_text_stays_text(word: str) -> None:
    point = bubble(10, 33, label=word, told=word)
    drawn = bubbles([point], word, word, frame=WIDE)
    assert word in labels(drawn, "name")
    assert word in labels(drawn, "label")
    assert [e.text for e in tree(drawn).iter("title")] == [word]
    drawn = curves([Curve(word, [(0, 1), (1, 2)], 0)], word, word, frame=WIDE, dots=True)
    assert all((e.text or "").startswith(f"{word}: ") for e in tree(drawn).iter("title"))
    assert labels(drawn, "label") == [word, word]
    assert word in labels(stages([word, "b"], [1.0, 2.0], word, " dB", frame=WIDE), "name")


def test_labels_do_not_lie_on_one_another() -> None:
    points = [bubble(10 + n / 10, 33, label=f"network {n}") for n in range(4)]
    drawn = bubbles(points, "x", "y", frame=WIDE)
    boxes = []
    for e in tree(drawn).iter("text"):
        if e.get("class") == "name":
            x, y = float(e.get("x") or 0), float(e.get("y") or 0)
            width = 7.6 * len(e.text or "")
            left = x if e.get("text-anchor") == "start" else x - width
            boxes.append((left, y - 11, left + width, y + 3))
    assert len(boxes) >= 2
    for n, (l1, t1, r1, b1) in enumerate(boxes):
        for l2, t2, r2, b2 in boxes[n + 1 :]:
            assert r1 <= l2 or r2 <= l1 or b1 <= t2 or b2 <= t1


def test_stages_tell_values_and_changes() -> None:
    drawn = stages(["dense", "pruned", "tuned"], [34.41, 19.95, 33.01], "dB", " dB", frame=WIDE)
    assert labels(drawn, "value") == ["34.41 dB", "19.95 dB", "33.01 dB"]
    assert [t for t in labels(drawn, "tick") if t[0] in "+−"] == ["−14.46", "+13.06"]
    dots = [float(e.get("cy") or 0) for e in tree(drawn).iter("circle")]
    assert dots[0] < dots[2] < dots[1]
    places = [float(e.get("y") or 0) for e in tree(drawn).iter("text") if e.get("class") == "value"]
    assert places[0] < dots[0]
    assert places[1] > dots[1]  # in a valley, beneath it


def test_the_whole_drawing_is_named() -> None:
    drawn = curves([Curve("a", [(0, 1), (1, 2)], 0)], "time", "watts", frame=NARROW)
    assert tree(drawn).get("aria-label") == "watts over time"
    assert re.match(r'<svg viewBox="0 0 360 320"', drawn)


CROWD = [
    bubble(10 + n / 3, 33 + n / 4, label=f"network {n}", told=f"tells {n}", area=n + 1.0,
           colour=n, front=n % 2 == 0, below=n == 6)
    for n in range(8)
]  # fmt: skip
WALK = [
    Curve(f"line {n}", [(x, 30 + (n + 1) * x / 100 - n) for x in (0, 17, 250, 400)], n)
    for n in (0, 7)
]
DRAWN = {
    "bubbles": lambda frame: bubbles(CROWD, "ms", "dB", frame=frame, floor=32.5),
    "bubbles-far": lambda frame: bubbles(CROWD[:2], "ms", "dB", frame=frame, floor=31.0),
    "bubbles-no-front": lambda frame: bubbles(CROWD[1::2], "ms", "dB", frame=frame),
    "bubbles-one": lambda frame: bubbles([bubble(4, 33, area=0.0)], "ms", "dB", frame=frame),
    "curves": lambda frame: curves(WALK, "iteration", "dB", frame=frame, dots=True),
    "curves-least": lambda frame: curves(WALK[:1], "iteration", "dB", frame=frame, least=20.0),
    "stages": lambda frame: stages(
        list("abcde"), [3.0, 1.5, 2.0, 2.0, 1.0], "dB", "x", frame=frame
    ),
    "stages-one": lambda frame: stages(["a"], [3.0], "dB", " dB", frame=frame),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize(("frame", "wide"), [(WIDE, "wide"), (NARROW, "narrow")])
def test_drawings_are_as_they_were(name: str, frame: Frame, wide: str) -> None:
    path = Path(__file__).parent / "golden" / f"{name}-{wide}.svg"
    same_as(path, by_tags(DRAWN[name](frame)))


def test_wide_windows_and_phones_have_their_own_drawing() -> None:
    drawn = both(stages, ["a"], [1.0], "dB", " dB")
    assert drawn == (
        f'<div class="plot wide">{stages(["a"], [1.0], "dB", " dB", frame=WIDE)}</div>'
        f'<div class="plot narrow">{stages(["a"], [1.0], "dB", " dB", frame=NARROW)}</div>'
    )


@pytest.mark.parametrize(("away", "shown"), [(1.99, True), (2.0, False), (-1.99, True)])
def test_bicubic_is_drawn_where_it_is_not_far(away: float, shown: bool) -> None:
    drawn = bubbles([bubble(10, 33.0)], "x", "y", frame=WIDE, floor=33.0 - away)
    assert ("bicubic" in drawn) is shown


@pytest.mark.parametrize(
    ("low", "high", "least", "pad", "span"),
    [
        (10.0, 14.0, 2.0, 0.0, (10.0, 14.0)),
        (10.0, 14.0, 8.0, 0.0, (8.0, 16.0)),
        (10.0, 14.0, 2.0, 0.5, (8.0, 16.0)),
        (1.0, 1.0, 4.0, 0.0, (0.0, 4.0)),  # as long, but not below 0
        (0.0, 10.0, 1.0, 0.1, (0.0, 12.0)),
        (-1.0, 3.0, 1.0, 0.0, (-1.0, 3.0)),
        (5.0, 5.0, 0.0, 0.0, (5.0 - 5e-10, 5.0 + 5e-10)),
    ],
)
def test_spans_of_axes(
    low: float, high: float, least: float, pad: float, span: tuple[float, float]
) -> None:
    assert _span(low, high, least, pad) == pytest.approx(span, abs=1e-12)


@pytest.mark.parametrize(
    ("other", "meets"),
    [((0, 0, 2, 2), True), ((2, 0, 4, 2), False), ((0, 2, 2, 4), False), ((1.9, 1.9, 3, 3), True),
     ((-2, 0, 0, 2), False), ((0, -2, 2, 0), False), ((-1, -1, 3, 3), True)],
)  # fmt: skip
def test_boxes_that_only_touch_do_not_overlap(other: tuple[float, ...], meets: bool) -> None:
    assert _overlap((0, 0, 2, 2), other) is meets  # type: ignore[arg-type]
