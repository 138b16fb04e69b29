"""The tensor that latency is measured on: a real image, prepared as quality's images are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.benchmark import open_benchmark
from srdeploy.models.card import Card
from srdeploy.runtime.pixels import upscale_rgb
from srdeploy.runtime.session import Session


def choose_image(
    data: str | Path, scale: int, size: tuple[int, int] | None = None
) -> NDArray[np.uint8]:
    """An LR image of the benchmark set.

    Args:
        data: As :func:`srdeploy.data.benchmark.open_benchmark`.
        scale: Its upscaling factor.
        size: Height and width wanted: the median image is mirrored on or cut to them. Without it
            the image of median area is taken whole (of an even number, the smaller).

    Returns:
        ``uint8 [h, w, 3]``.
    """
    return fitted(median_image(data, scale), size)


def median_image(data: str | Path, scale: int) -> NDArray[np.uint8]:
    """The LR image of median area (of an even number, the smaller): ``uint8 [h, w, 3]``."""
    images = [pair.lr() for pair in open_benchmark(data, scale)]
    images.sort(key=lambda image: image.shape[0] * image.shape[1])
    return images[(len(images) - 1) // 2]


def fitted(image: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """An image cut to a height and width, or mirrored on to them below and on the right."""
    if size is None:
        return image
    height, width = size
    below, right = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    return np.pad(image, ((0, below), (0, right), (0, 0)), mode="symmetric")[:height, :width]


class _Catcher(Session):
    """Keeps what it is asked to run and answers with nothing."""

    runtime = "none"

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        self.caught = x
        s = self.card.network_scale
        return np.zeros((*x.shape[:2], x.shape[2] * s, x.shape[3] * s), np.float32)


def network_input(
    card: Card, lr: NDArray[np.uint8], scale: int, batch: int = 1
) -> NDArray[np.float32]:
    """What the network is given for this image: range, luma, padding and pre-upscaling included.

    It is caught on the very path that pictures take, so the two can't drift apart.

    Returns:
        ``float32 [batch, C, H, W]`` in 0..card.value_range.

    Raises:
        UserError: the network does not serve this scale.
    """
    with _Catcher(card, threads=1) as catcher:
        upscale_rgb(catcher, lr, scale)
        return np.repeat(catcher.caught, batch, axis=0)
