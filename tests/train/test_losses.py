from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from srdeploy.train.losses import loss_of
from srdeploy.train.recipe import TrainRecipe

Make = Callable[..., TrainRecipe]


def test_means_and_sums(recipe: Make) -> None:
    outputs, targets = torch.zeros(2, 3, 4, 5), torch.full((2, 3, 4, 5), 2.0)
    targets[1] = 1.0

    def loss(**settings: str) -> float:
        return float(loss_of(recipe(**settings), outputs, targets))

    assert loss(loss="l1") == pytest.approx(1.5)
    assert loss(loss="l2") == pytest.approx(2.5)
    # One image errs by 2, the other by 1, in each of 60 values: averaged over images.
    assert loss(loss="l1", reduction="sum") == pytest.approx(60 * 1.5)
    assert loss(loss="l2", reduction="sum") == pytest.approx(60 * (4 + 1) / 2 / 2)


def test_old_digests_stay(recipe: Make) -> None:
    plain = recipe()
    assert "reduction" not in plain.decisive()
    assert "compile" not in plain.decisive()
    assert recipe(compile=True).digest() == plain.digest()
    assert recipe(reduction="sum").digest() != plain.digest()
