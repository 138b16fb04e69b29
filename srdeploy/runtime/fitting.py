"""Images for an artifact that does not take every size: cut, or continued in the mirror, to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.benchmark import Pair, open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.sizes import InputSizes

_PIXELS = 2**18
"""Input pixels that are enough: of larger images fewer are measured."""


@dataclass(frozen=True)
class _Cut(Pair):
    """A pair whose original has a size of its own."""

    height: int = 0
    width: int = 0

    def hr(self) -> NDArray[np.uint8]:
        image = super().hr()
        for axis, wanted in enumerate((self.height, self.width)):
            more = max(0, wanted - image.shape[axis])
            around = [(0, 0)] * 3
            around[axis] = (more // 2, more - more // 2)
            image = np.pad(image, around, mode="symmetric")
            start = (image.shape[axis] - wanted) // 2
            image = image.take(range(start, start + wanted), axis)
        return image

    def lr(self) -> NDArray[np.uint8]:
        made: NDArray[np.uint8] = imresize(self.hr(), 1 / self.scale)
        return made


def fitting(
    sizes: InputSizes | None, card: Card, data: str, most: float = _PIXELS
) -> Sequence[Pair]:
    """Pairs of a set whose inputs an artifact takes; where it does not take all, cut or continued.

    Args:
        sizes: What it takes; None: all.
        card: Its scale.
        data: Benchmark set.
        most: Input pixels after which the rest of the set is left out, where it does not take all.

    Raises:
        UserError: no such set, or no image of it can have such a size.
    """
    pairs = open_benchmark(data, card.scale)
    if sizes is None:
        return pairs
    factor = card.network_scale
    found: list[Pair] = []
    pixels = 0
    for pair in pairs:
        height, width = (n // factor for n in pair.hr().shape[:2])
        if not sizes.allows(height, width):
            height, width = nearest(sizes, height, width)
            if card.pre_upscaled and (height % card.scale or width % card.scale):
                raise UserError(f"no image upscaled by {card.scale} is {width}x{height}")
            pair = _Cut(
                pair.name,
                pair.scale,
                pair.hr_path,
                height=height * factor,
                width=width * factor,
            )
        pixels += height * width
        if found and pixels > most:
            break
        found.append(pair)
    return found


def nearest(sizes: InputSizes, height: int, width: int) -> tuple[int, int]:
    """The size nearest to an image's that an artifact takes."""
    if sizes.listed:
        return min(sizes.listed, key=lambda size: abs(size[0] * size[1] - height * width))
    low, high = sizes.low, sizes.high
    return min(max(height, low[0]), high[0]), min(max(width, low[1]), high[1])
