"""The image that latency is measured on: a real one, of the size that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.benchmark import open_benchmark


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
