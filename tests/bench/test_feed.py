from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.bench.feed import choose_image, network_input
from srdeploy.data.images import write_png
from srdeploy.errors import UserError
from srdeploy.models.registry import create


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name, size in {"big": (60, 80), "middle": (40, 60), "small": (30, 30)}.items():
        write_png(tmp_path / f"{name}.png", generator.integers(0, 256, (*size, 3), np.uint8))
    return tmp_path


def test_median_image_or_any_size(data: Path) -> None:
    image = choose_image(data, 2)
    assert image.shape == (20, 30, 3)
    larger = choose_image(data, 2, (33, 20))
    assert larger.shape == (33, 20, 3)
    np.testing.assert_array_equal(larger[:20], image[:, :20])
    np.testing.assert_array_equal(larger[20], larger[19])  # mirrored


def test_rgb_network_gets_the_image(data: Path) -> None:
    image = choose_image(data, 2)
    x = network_input(create("ledsr", n_blocks=1, n_feats=4).card, image, 2, batch=3)
    assert x.shape == (3, 3, 20, 30)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[2].transpose(1, 2, 0), image)


def test_pre_upscaled_luma_network_gets_it_upscaled(data: Path) -> None:
    x = network_input(create("vdsr").card, choose_image(data, 3), 3)
    assert x.shape == (1, 1, 39, 60)
    assert 0 < x.min() < x.max() < 1


def test_size_multiple_and_scale_are_respected(data: Path) -> None:
    card = create("ledsr", n_blocks=1, n_feats=4).card.model_copy(update={"size_multiple": 8})
    assert network_input(card, choose_image(data, 2), 2).shape == (1, 3, 24, 32)
    with pytest.raises(UserError, match="not by x3"):
        network_input(card, choose_image(data, 3), 3)
