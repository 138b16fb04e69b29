"""The page of SMSR's masks: colours, shares and units."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from srdeploy.reporting.masks_page import SKIPPED, heat, masks_page, overlay
from srdeploy.sparse.masks import LayerWork, MaskReport, ModuleMask

LEFT = np.array([[True, False], [True, False]])
FULL = np.ones((2, 2), bool)


def module(mask: np.ndarray) -> ModuleMask:
    layers = [LayerWork(1, 3, 0.5, 0.376), LayerWork(4, 4, 0.75, 0.624)]
    return ModuleMask(mask, float(mask.mean()), layers)


def page(image: np.ndarray, *masks: np.ndarray) -> str:
    report = MaskReport([module(m) for m in masks], 2_000_000_000, 0.25, 4_000_000_000)
    return masks_page(report, image, "<t>", "<n>")


def pictures(text: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/png;base64,([^\"]+)", text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def test_what_is_skipped_is_dimmed_and_the_rest_untouched() -> None:
    image = np.full((2, 2, 3), 200, np.uint8)
    shown = overlay(image, LEFT)
    assert (shown[:, 0] == 200).all()
    dim = [int(0.22 * 200 + 0.78 * colour) for colour in SKIPPED]
    assert shown[:, 1].tolist() == [dim, dim]
    assert shown.dtype == np.uint8


@pytest.mark.parametrize(
    ("computed", "colour"),
    [(0, [22, 20, 54]), (1, [84, 30, 110]), (2, [160, 46, 104]), (4, [250, 150, 40]),
     (5, [252, 230, 130])],
)  # fmt: skip
def test_five_modules_go_through_the_six_colours(computed: int, colour: list[int]) -> None:
    masks = [FULL] * computed + [~FULL] * (5 - computed)
    assert heat([module(mask) for mask in masks])[1, 1].tolist() == colour


def test_between_two_colours_they_are_mixed() -> None:
    masks = [FULL] + [~FULL] * 9  # half a colour up
    assert heat([module(mask) for mask in masks])[0, 0].tolist() == [53, 25, 82]


def test_the_page_tells_shares_and_sizes() -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    image[0, 0] = 9
    text = page(image, np.ones((2, 3), bool), np.eye(2, 3, dtype=bool))
    words = re.sub(r"<[^>]+>", " ", text)
    assert "<t>" not in text
    assert "&lt;t&gt;" in text
    assert "&lt;n&gt;" in text
    assert "3 × 2" in text
    assert re.search(r"3 / 2\b", text)
    assert "pixelated" in text
    for told in ("25%", "2.50", "4.00", "62%"):  # 4 G less three quarters of 2 G
        assert told in text, told
    assert "rgb(22 20 54), rgb(84 30 110)" in text
    assert re.findall(r"Module (\d)", text) == ["1", "2"]
    assert "33% of pixels" in words
    assert "100% of pixels" in words
    assert re.findall(r"--dense:([\d.]+)%", text) == ["25.0", "50.0"] * 2
    assert text.count("<b>1</b><i>3</i>") == 2
    assert re.findall(r"<tr><td>(\d)</td>", text) == ["1", "2"] * 2
    assert [f"<td>{n}%</td>" in text for n in (38, 62, 50)] == [True, True, False]
    whole, warm, first, second = pictures(text)
    assert np.array_equal(whole, image)
    assert warm.shape == (2, 3, 3)
    assert not first.any()
    assert second[0, 1].tolist() == [*SKIPPED, 255]
    assert second[1, 1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("size", "drawn"), [((400, 2), "pixelated"), ((2, 401), "auto")])
def test_small_pictures_show_their_pixels(size: tuple[int, int], drawn: str) -> None:
    image = np.zeros((*size, 3), np.uint8)
    text = page(image, np.ones(size, bool))
    assert re.findall(r"image-rendering:\s*(\w+)", text)[0] == drawn
