"""Side-by-sides: where each panel and each word stands, and what is framed."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from srdeploy.upscaling.sheet import Panel, draw_sheet
from tests.golden import same_as

GOLDEN = Path(__file__).parent / "golden"
REGION = (slice(10, 40), slice(20, 60))


def flat(height: int, width: int, *colour: int) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3))


def panels(count: int, size: tuple[int, int] = (30, 40)) -> list[Panel]:
    return [
        Panel(f"label {n}", f"name-{n}.onnx", flat(*size, 10 * n, 200, 90), f"{n} dB")
        for n in range(count)
    ]


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[list]:
    """What would be written, and where: how letters look is the font's affair."""
    found: list[list] = []

    def text(self: object, place: tuple, content: str, fill: tuple, font: object) -> None:
        found.append([content, list(place), list(fill), font.size])  # type: ignore[attr-defined]

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return found


def runs(image: Image.Image) -> list[str]:
    """Each row as its colours and how often they come, and rows alike as one."""
    rows = []
    for row in np.asarray(image):
        colours = (f"{sum(1 for _ in same)}x{colour}" for colour, same in groupby(map(tuple, row)))
        rows.append(" ".join(colours))
    return [f"{sum(1 for _ in same)} rows: {row}" for row, same in groupby(rows)]


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_where_everything_stands(words: list[list], count: int) -> None:
    sheet = draw_sheet(panels(count), flat(120, 100, 7, 8, 9), REGION, "the caption")
    text = "\n".join([str(sheet.size), *map(json.dumps, words), *runs(sheet)]) + "\n"
    same_as(GOLDEN / f"sheet-{count}.txt", text.replace("np.uint8", ""))


@pytest.mark.parametrize(
    ("size", "zoom"), [((30, 40), 12), ((10, 300), 2), ((10, 320), 2), ((10, 330), 1),
                       ((10, 2000), 1)],
)  # fmt: skip
def test_panels_are_enlarged_by_whole_numbers(
    words: list[list], size: tuple[int, int], zoom: int
) -> None:
    shown = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    panel = Panel("a", "b", shown, "c")
    region = (slice(0, size[0]), slice(0, size[1]))
    sheet = np.asarray(draw_sheet([panel], flat(60, 60, 1, 2, 3), region, ""))
    tall, wide = size[0] * zoom, size[1] * zoom
    assert sheet.shape == (58 + tall + 40 + 34, 2 * (wide + 16) + 16, 3)
    drawn = sheet[58 : 58 + tall, 16 + wide + 16 : -16]
    assert np.array_equal(drawn, shown.repeat(zoom, 0).repeat(zoom, 1))
    assert words[0][0] == "where"
    assert words[1][0] == f"{size[1]}x{size[0]} pixels at (0, 0)"


def test_a_long_name_loses_its_beginning(words: list[list]) -> None:
    (panel,) = panels(1)
    long = Panel(panel.label, "folder/" * 30 + "end.onnx", panel.pixels, "")
    draw_sheet([long], flat(60, 60, 1, 2, 3), REGION, "")
    (shown,) = [word for word, *_ in words if word.endswith("end.onnx")]
    assert shown.startswith("…")
    font = __import__("PIL.ImageFont").ImageFont.load_default(15)
    assert 440 < font.getlength(shown) <= 480


def test_a_large_picture_is_shown_as_high_as_the_panels(words: list[list]) -> None:
    picture = np.zeros((3000, 2000, 3), np.uint8)
    picture[:, 1000:] = 240
    sheet = np.asarray(draw_sheet(panels(1), picture, (slice(0, 30), slice(0, 40)), ""))
    where = sheet[58 : 58 + 360, 16 : 16 + 240]
    assert (sheet[58:418, 16 + 240 : 16 + 480] == (250, 250, 248)).all()
    assert where[200, 100].tolist() == [0, 0, 0]
    assert where[200, 140].tolist() == [240, 240, 240]


@pytest.mark.parametrize("size", [(30, 60_000), (60_000, 40), (4000, 1), (1, 4000)])
def test_of_a_panorama_a_region_is_a_dot(words: list[list], size: tuple[int, int]) -> None:
    region = slice(0, min(30, size[0])), slice(0, min(40, size[1]))
    sheet = draw_sheet(panels(1), flat(*size, 9, 9, 9), region, "")
    assert sheet.size == (2 * (480 + 16) + 16, 58 + 360 + 40 + 34)
    assert np.asarray(sheet)[58, 16].tolist() == [214, 54, 44]
