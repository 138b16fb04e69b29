"""Small synthetic photographs and tiny networks to train on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srdeploy.data.images import write_png
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.train.recipe import TrainRecipe


def textured(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth colour waves plus noise: detail that a network can and cannot restore."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    phase = random.uniform(0, 6, (3, 1, 1))
    waves = np.sin(x / random.uniform(2, 6) + phase) + np.cos(y / random.uniform(2, 6) - phase)
    image = 128 + 50 * waves + random.normal(0, 4, (3, height, width))
    return np.clip(image, 0, 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of different sizes, none a multiple of 3 or 4."""
    folder = tmp_path_factory.mktemp("photographs")
    for index, (height, width) in enumerate([(50, 61), (71, 53), (49, 49), (62, 85)]):
        write_png(folder / f"{index}.png", textured(index, height, width))
    return folder


@pytest.fixture
def tiny() -> Network:
    """One block of four channels, x2, RGB, with mean shift."""
    torch.manual_seed(0)
    return create("ledsr", scale=2, n_blocks=1, n_feats=4)


@pytest.fixture
def tiny_vdsr() -> Network:
    """Four layers of four channels on luma, fed with upscaled images."""
    torch.manual_seed(0)
    return create("vdsr", n_layers=4, n_feats=4)


@pytest.fixture
def recipe(photographs: Path) -> Callable[..., TrainRecipe]:
    """Make a recipe on the photographs; keywords replace its settings."""

    def make(**settings: Any) -> TrainRecipe:
        values: dict[str, Any] = {
            "data": {"folders": [str(photographs)]},
            "scales": [2],
            "patch": 8,
            "batch": 4,
            "iterations": 20,
            "optimiser": {"kind": "adam", "lr": 1e-3},
            "log_every": 5,
            "threads": 1,
            "workers": 0,
        }
        return TrainRecipe.model_validate(values | settings)

    return make
