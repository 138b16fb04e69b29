"""Network inputs made from images: what calibration runs a network on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.builtin import BUILTIN, TRAINING_IMAGES
from srdeploy.models.card import Card
from srdeploy.runtime.fitting import fitting
from srdeploy.runtime.pixels import network_input
from srdeploy.runtime.sizes import InputSizes

PATCH, MOST_PATCHES = 64, 32
"""Side of a patch in LR pixels, and the largest number of patches, spread over all images."""

_LEAST = 8  # images, where each is as large as a graph wants it


def network_inputs(
    images: str | Path,
    card: Card,
    *,
    patches: int = MOST_PATCHES,
    side: int = PATCH,
    sizes: InputSizes | None = None,
) -> list[NDArray[np.float32]]:
    """What the network reads when it upscales the images' low-resolution versions.

    Args:
        images: A benchmark folder, or ``builtin``: the training images that come with srdeploy,
            so that what the artifact is judged on was not seen here.
        card: The network's own.
        patches: Largest number of patches; of more, evenly many are left out.
        side: Of a patch, in LR pixels; images that are smaller give smaller ones.
        sizes: Those that a graph takes, where it does not take all: then what is cut from the
            images, or continued in the mirror, has one of them.

    Returns:
        float32 [1, C, h, w] each, in 0..value_range.

    Raises:
        UserError: the folder cannot be read.
    """
    folder = TRAINING_IMAGES if str(images) == BUILTIN else images
    if sizes is None:
        pairs = open_benchmark(folder, card.scale)
        cut = [patch for pair in pairs for patch in _patches(pair.lr(), side)]
    else:
        cut = [pair.lr() for pair in fitting(sizes, card, str(folder), math.inf)]
        patches = max(_LEAST, patches * side**2 // cut[0][..., 0].size)
    chosen = cut[:: -(-len(cut) // patches)]
    return [network_input(card, patch, card.scale) for patch in chosen]


def _patches(image: NDArray[np.uint8], side: int = PATCH) -> list[NDArray[np.uint8]]:
    """Patches that cover the image, side by side; smaller ones at its far ends left out."""
    height, width = image.shape[:2]
    tops = range(0, max(height - side, 0) + 1, side)
    lefts = range(0, max(width - side, 0) + 1, side)
    return [image[top : top + side, left : left + side] for top in tops for left in lefts]
