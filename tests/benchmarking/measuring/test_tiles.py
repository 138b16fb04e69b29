from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from srdeploy.benchmarking.measuring.tiles import Tiled, timed_input
from srdeploy.devices.protocol import Turn
from srdeploy.errors import UserError
from srdeploy.measure.scenario import Scenario
from srdeploy.models.registry import create

LR = np.random.default_rng(0).integers(0, 256, (300, 420, 3), np.uint8)


def test_one_tile_stands_for_all() -> None:
    card = create("ledsr", n_blocks=1, n_feats=4).card
    timed = timed_input(card, LR, 2, Scenario(tile=200))
    height, width = timed.x.shape[2:]
    assert max(height, width) <= 200
    margin = card.receptive_field // 2
    inner = (height - 2 * margin) * (width - 2 * margin)
    assert timed.tiles >= 300 * 420 / (height * width)
    assert timed.tiles <= 1.6 * (300 * 420) / inner
    assert f"{timed.tiles} tiles of {width}x{height}" in timed.remark


def test_a_pre_upscaled_network_is_tiled_in_lr_pixels() -> None:
    card = create("vdsr").card
    timed = timed_input(card, LR, 2, Scenario(tile=200))
    assert 300 < max(timed.x.shape[2:]) <= 400
    assert timed.tiles > 1


@pytest.mark.parametrize("tile", [None, 420, 5000])
def test_whole_images(tile: int | None) -> None:
    timed = timed_input(create("ledsr", n_blocks=1, n_feats=4).card, LR, 2, Scenario(tile=tile))
    assert (timed.tiles, timed.remark) == (1, "")
    assert timed.x.shape[2:] == (300, 420)


def test_tiles_that_are_all_overlap() -> None:
    with pytest.raises(UserError):
        timed_input(create("vdsr").card, LR, 2, Scenario(tile=8))


class Inner:
    """Tiles of 1, 2, 3... ms; so many per turn."""

    def __init__(self, per_turn: int) -> None:
        self.per_turn, self.number = per_turn, 0

    def turn(self, seconds: float) -> Turn:
        samples = [float(self.number + i + 1) for i in range(self.per_turn)]
        self.number += self.per_turn
        return Turn(samples, [s / 2 for s in samples])

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_a_sample_is_a_whole_image() -> None:
    turn = Tiled(Inner(7), 3).turn(1.0)  # type: ignore[arg-type]
    assert turn.samples_ms == [6.0, 15.0]
    assert turn.compute_ms == [3.0, 7.5]


def test_turns_too_short_for_an_image_are_put_together() -> None:
    turn = Tiled(Inner(2), 5).turn(0.1)  # type: ignore[arg-type]
    assert turn.samples_ms == [15.0]
