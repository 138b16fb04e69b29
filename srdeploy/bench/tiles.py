"""What is timed: the whole image's tensor, or one tile's as often as the image has tiles."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from srdeploy.bench.feed import network_input
from srdeploy.devices.protocol import Loaded, LoadedModel, Turn
from srdeploy.errors import UserError
from srdeploy.measure.scenario import Scenario
from srdeploy.models.card import Card


@dataclass(frozen=True)
class TimedInput:
    """The tensor that is run, and how often for one sample.

    Attributes:
        x: ``float32 [N, C, H, W]``.
        tiles: Tiles of one image; 1 where it goes through as a whole.
        remark: One sentence on the tiles; empty without any.
    """

    x: NDArray[np.float32]
    tiles: int = 1
    remark: str = ""


def timed_input(card: Card, lr: NDArray[np.uint8], scale: int, scenario: Scenario) -> TimedInput:
    """The tensor for an LR image, whole or in tiles as the scenario says.

    All tiles are of one size, those at the edges reaching further in, so one of them stands for
    all.

    Args:
        card: The network's.
        lr: ``uint8 [h, w, 3]``.
        scale: Upscaling factor.
        scenario: Its ``tile`` and ``batch``.

    Raises:
        UserError: the network cannot be tiled, or only in larger tiles; it does not serve this
            scale.
    """
    height, width = lr.shape[:2]
    tile = scenario.tile
    if tile is None or tile >= max(height, width):
        return TimedInput(network_input(card, lr, scale, scenario.batch))
    margin = _margin(card, scale)
    if tile <= 2 * margin:
        raise UserError(
            f"Tiles of {tile} are too small for this {card.arch} network, which looks {margin} "
            f"pixels around each; give at least {2 * margin + 1}."
        )
    sides = [min(tile, side) for side in (height, width)]
    down, across = (
        1 if side <= tile else ceil((side - 2 * margin) / (tile - 2 * margin))
        for side in (height, width)
    )
    x = network_input(card, lr[: sides[0], : sides[1]], scale, scenario.batch)
    remark = (
        f"{down * across} tiles of {sides[1]}x{sides[0]} with {margin} pixels of overlap a side; a "
        "sample is the time of all of them, without cutting and joining"
    )
    return TimedInput(x, down * across, remark)


def _margin(card: Card, scale: int) -> int:
    """LR pixels around a tile that its outermost output pixels depend on."""
    if card.receptive_field == 0:
        raise UserError(
            f"This {card.arch} network cannot be tiled: every output pixel depends on the whole "
            "image."
        )
    reach = ceil(card.receptive_field / 2)
    return ceil(reach / scale) + 2 if card.pre_upscaled else reach  # bicubic looks 2 pixels around


class Tiled:
    """A loaded model whose samples are whole images of so many tiles.

    Everything but the samples is the model's own; see
    :class:`srdeploy.devices.protocol.LoadedModel`.
    """

    def __init__(self, model: LoadedModel, tiles: int) -> None:
        self._model = model
        self._tiles = tiles

    @property
    def loaded(self) -> Loaded:
        """What is known of it."""
        return self._model.loaded

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Hand over one tile; the first run is that of one tile."""
        return self._model.prepare(x, runs=runs, seconds=seconds)

    def turn(self, seconds: float) -> Turn:
        """Whole images; tiles left over count for nothing."""
        samples: list[float] = []
        compute: list[float] = []
        while len(samples) < self._tiles:
            turn = self._model.turn(seconds)
            samples += turn.samples_ms
            compute += turn.compute_ms
        return Turn(self._images(samples), self._images(compute))

    def _images(self, samples: list[float]) -> list[float]:
        whole = len(samples) // self._tiles * self._tiles
        return [sum(samples[i : i + self._tiles]) for i in range(0, whole, self._tiles)]

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output for a tensor, as it is."""
        return self._model.run(x)

    def peak_mb(self) -> float | None:
        """Peak memory, which is that of a tile."""
        return self._model.peak_mb()

    def close(self) -> None:
        """Free it."""
        self._model.close()

    def __enter__(self) -> Tiled:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()
