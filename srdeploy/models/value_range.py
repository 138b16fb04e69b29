"""What a network makes of a photograph: whether its pixels run to 1 or to 255, among others.

A trained network is better than bicubic where it is fed as it was trained. Fed otherwise, its
biases are as good as none, or drown the picture. PyTorch is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
    cards = {one: card.model_copy(update={"value_range": one}) for one in VALUE_RANGES}
    return clearly_best({one: gain(answer, cards[one], size) for one in VALUE_RANGES})


def clearly_best(gains: Mapping[Any, float], lead: float = _LEAD) -> Any:
    """The one that is better than bicubic, and better than all others by half a decibel.

    Args:
        gains: What :func:`gain` says of each.
        lead: In dB, another one.

    Returns:
        None if there is none.
    """
    best, *others = sorted(gains, key=lambda one: gains[one], reverse=True)
    clear = all(gains[best] - gains[other] >= lead for other in others)
    return best if gains[best] > 0 and clear else None


def gain(
    answer: Callable[[NDArray[np.float32]], NDArray], card: Card, size: tuple[int, int]
) -> float:
    """By how many dB of PSNR a network upscales a photograph better than bicubic.

    Args:
        answer: The network: ``[1, C, h, w]`` to ``[1, C, h * s, w * s]``.
        card: Its channels (1 or 3), scale and value range.
        size: Height and width of its input.

    Returns:
        -inf for an output that is no picture of this size.
    """
    factor = card.network_scale
    original = _photograph(card, (size[0] * factor, size[1] * factor))
    height, width = original.shape[:2]
    small = imresize(original, size=(height // card.scale, width // card.scale))
    upscaled = imresize(small, size=(height, width))
    given = (upscaled if card.pre_upscaled else small).transpose(2, 0, 1)[None]
    x = np.ascontiguousarray(given * (card.value_range / 255.0), np.float32)
    pixels = np.asarray(answer(x), np.float64)[0].transpose(1, 2, 0) * (255.0 / card.value_range)
    return _quality(pixels, original) - _quality(upscaled, original)


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
