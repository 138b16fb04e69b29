"""Whether a network's pixels run to 1 or to 255, told by what it makes of a photograph.

A trained network is better than bicubic where it is fed as it was trained. Fed otherwise, its
biases are as good as none, or drown the picture. PyTorch is not needed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.bicubic import imresize
from srdeploy.data.builtin import BENCHMARK_IMAGES
from srdeploy.data.images import read_rgb, rgb_to_y
from srdeploy.models.card import Card
from srdeploy.quality.metrics import psnr

VALUE_RANGES = (1.0, 255.0)
"""What pixels may run to."""

_PHOTOGRAPH = "coffee.png"
_LEAD = 0.5  # dB by which one range must be better than the other


def recognise_range(
    answer: Callable[[NDArray[np.float32]], NDArray], card: Card, size: tuple[int, int]
) -> float | None:
    """The range in which a network upscales a photograph better than bicubic, and clearly best.

    Args:
        answer: The network: ``[1, C, h, w]`` to ``[1, C, h * s, w * s]``.
        card: Its channels and scale; the range on it is not looked at.
        size: Height and width of its input.

    Returns:
        None where neither range or both will do: the network is not trained, or has no biases; and
        for other numbers of channels than a photograph's.
    """
    if card.channels not in (1, 3):
        return None
    factor = card.network_scale
    original = _photograph(card, (size[0] * factor, size[1] * factor))
    height, width = original.shape[:2]
    small = imresize(original, size=(height // card.scale, width // card.scale))
    upscaled = imresize(small, size=(height, width))
    given = (upscaled if card.pre_upscaled else small).transpose(2, 0, 1)[None]
    found: dict[float, float] = {}
    for value_range in VALUE_RANGES:
        x = np.ascontiguousarray(given * (value_range / 255.0), np.float32)
        pixels = np.asarray(answer(x), np.float64)[0].transpose(1, 2, 0) * (255.0 / value_range)
        found[value_range] = _quality(pixels, original)
    best = max(found, key=lambda one: found[one])
    other = min(found[one] for one in found if one != best)
    trained = found[best] > _quality(upscaled, original)
    return best if trained and found[best] - other >= _LEAD else None


def _quality(pixels: NDArray[np.float64], original: NDArray[np.float64]) -> float:
    """PSNR in dB; of what is no picture -inf."""
    if pixels.shape != original.shape or not np.isfinite(pixels).all():
        return float("-inf")
    return psnr(np.clip(pixels, 0, 255), original)


def _photograph(card: Card, size: tuple[int, int]) -> NDArray[np.float64]:
    """The middle of a photograph in 0..255, continued in the mirror: ``[height, width, C]``."""
    pixels = read_rgb(BENCHMARK_IMAGES / _PHOTOGRAPH).astype(np.float64)
    planes = rgb_to_y(pixels)[..., None] if card.channels == 1 else pixels
    for axis, wanted in enumerate(size):
        more = max(0, wanted - planes.shape[axis])
        planes = np.pad(planes, [(0, more if a == axis else 0) for a in range(3)], "symmetric")
        start = (planes.shape[axis] - wanted) // 2
        planes = planes.take(range(start, start + wanted), axis)
    return planes
