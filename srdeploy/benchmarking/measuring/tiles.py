"""What is timed: the whole image's tensor, or one tile's as often as the image has tiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srdeploy.benchmarking.measuring.wrapped import Wrapped
from srdeploy.devices.protocol import LoadedModel, Turn
from srdeploy.measure.scenario import Scenario
from srdeploy.models.card import Card
from srdeploy.runtime.pixels import network_input
from srdeploy.runtime.tiling import plan_grid


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

    Tiles are cut as :func:`srdeploy.runtime.tiling.plan_grid` cuts them: all of one size, so that
    one stands for all.

    Args:
        card: The network's.
        lr: ``uint8 [h, w, 3]``.
        scale: Upscaling factor.
        scenario: Its ``tile`` and ``batch``.

    Raises:
        UserError: the tiles are too small for the network's overlap; it does not serve this scale.
    """
    x = network_input(card, lr, scale, scenario.batch)
    if scenario.tile is None:
        return TimedInput(x)
    side = scenario.tile * scale // card.network_scale  # LR pixels to the network's own
    side = max(side // card.size_multiple, 1) * card.size_multiple
    grid = plan_grid(card, *x.shape[2:], tile=(side, side))
    if grid.whole:
        return TimedInput(x)
    count, (height, width) = len(grid.tiles), grid.tile
    remark = (
        f"{count} tiles of {width}x{height} with {grid.overlap} pixels of overlap; a sample is "
        "the time of all of them, without cutting and joining; the first run is of one tile"
    )
    if not grid.exact:
        remark += "; the picture is not exactly the whole image's"
    first = grid.tiles[0]
    part = np.ascontiguousarray(x[:, :, first.rows, first.columns])
    return TimedInput(part, count, remark)


class Tiled(Wrapped):
    """A loaded model whose samples are whole images of so many tiles.

    Everything but the samples is the model's own; see
    :class:`srdeploy.devices.protocol.LoadedModel`.
    """

    def __init__(self, model: LoadedModel, tiles: int) -> None:
        super().__init__(model)
        self._tiles = tiles

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
