"""Which part of the picture is shown, and what it looks like by bicubic."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import to_uint8
from srdeploy.devices.browser.model import comparison
from srdeploy.models.card import Card


def card(scale: int = 2, **changes: Any) -> Card:
    base = {"arch": "x", "scale": scale, "scales": (scale,), "channels": 3, "value_range": 255.0}
    return Card.model_validate(base | changes)


def shown(card: Card, x: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    box, png = comparison(card, x)
    return box, np.asarray(Image.open(io.BytesIO(png)))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("scale", "height", "width", "box"),
    [
        (2, 5, 7, (0, 0, 14, 10)),
        (2, 485, 645, (4, 4, 1280, 960)),  # a little more than fits
        (2, 488, 648, (8, 8, 1280, 960)),
        (3, 330, 440, (21, 15, 1278, 960)),
        (4, 241, 9, (0, 0, 36, 960)),
        (2, 480, 640, (0, 0, 1280, 960)),
    ],
)
def test_it_is_the_middle_of_the_whole(
    scale: int, height: int, width: int, box: tuple[int, ...]
) -> None:
    x = noise(2, 3, height, width)
    found, pixels = shown(card(scale), x)
    left, top, w, h = box
    assert found == {"x": left, "y": top, "w": w, "h": h, "range": 255.0}
    whole = to_uint8(imresize(x[0].transpose(1, 2, 0).astype(np.float64), scale))
    assert np.array_equal(pixels, whole[top : top + h, left : left + w])


@pytest.mark.parametrize(("size", "box"), [((963, 1285), (2, 1)), ((960, 1280), (0, 0))])
def test_a_pre_upscaled_networks_is_its_input(size: tuple[int, int], box: tuple[int, int]) -> None:
    x = noise(1, 1, *size) / 255
    found, pixels = shown(card(channels=1, value_range=1.0, luma_only=True, pre_upscaled=True), x)
    assert found == {"x": box[0], "y": box[1], "w": 1280, "h": 960, "range": 1.0}
    assert np.array_equal(pixels, to_uint8(x[0, 0] * 255.0)[box[1] :, box[0] :][:960, :1280])


@pytest.mark.parametrize("pre_upscaled", [False, True])
def test_what_fills_a_size_up_is_not_shown(pre_upscaled: bool) -> None:
    x = noise(1, 3, 20, 30)
    one = card(pre_upscaled=pre_upscaled)
    found, pixels = comparison(one, x, (5, 7))
    factor = 2 if pre_upscaled else 1
    alone, same = comparison(one, x[:, :, : 5 * factor, : 7 * factor])
    assert (found, pixels) == (alone, same)
    assert (found["w"], found["h"]) == (14, 10)
