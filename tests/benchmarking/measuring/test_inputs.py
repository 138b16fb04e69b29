from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.benchmarking.measuring.inputs import choose_image
from srdeploy.data.images import write_png


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
