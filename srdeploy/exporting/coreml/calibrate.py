"""The ranges of a program's results on real images, found by interpreting it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.builtin import BUILTIN, TRAINING_IMAGES
from srdeploy.exporting.coreml.convert import SMALL_WEIGHT, Stats
from srdeploy.models.card import Card
from srdeploy.runtime.coreml.reference import CoremlReferenceSession
from srdeploy.runtime.pixels import plan_image, upscale_rgb

PATCH, MOST_IMAGES = 96, 16
"""Calibration takes a central patch of so many LR pixels from so many images at most."""

MOST_PIXELS = 2**22
"""Input pixels that are enough: a program for one large size sees fewer images."""


def calibrate(package: Path, images: str | Path, card: Card) -> tuple[Stats, int]:
    """Smallest and largest value of every result over the images, and how many images there were.

    Args:
        package: The program, not compressed.
        images: A benchmark folder, or ``builtin``: the training images that come with srdeploy.
        card: The network's own, for its scale.

    Raises:
        UserError: the folder cannot be read.
    """
    folder = TRAINING_IMAGES if str(images) == BUILTIN else images
    pairs = open_benchmark(folder, card.scale)
    chosen = pairs[:: -(-len(pairs) // MOST_IMAGES)]
    stats: Stats = {}
    count = pixels = 0

    def watch(name: str, operation: str, values: Any) -> None:
        if values.is_floating_point():
            low, high = float(values.min()), float(values.max())
            known = stats.setdefault(name, {"rmin": low, "rmax": high})
            known["rmin"], known["rmax"] = min(low, known["rmin"]), max(high, known["rmax"])

    with CoremlReferenceSession(package, threads=1, any_size=True) as session:
        session.watch = watch
        for pair in chosen:
            if pixels >= MOST_PIXELS:
                break
            patch = _centre(pair.lr())
            grid = plan_image(card, patch.shape[:2], card.scale, overlap=0, sizes=session.sizes)
            upscale_rgb(session, patch, card.scale, grid)
            count += 1
            pixels += len(grid.tiles) * math.prod(grid.tile)
    return stats, count


def inner_layers(package: Path) -> list[str]:
    """Convolutions that read 8-bit activations well: large weights, neither first nor last.

    The ends need their precision, and sums along the skip connections stay in float too.
    """
    with CoremlReferenceSession(package, threads=1, any_size=True) as session:
        inner = session.program.convolutions()[1:-1]
    return [name for name, weight in inner if weight.size > SMALL_WEIGHT]


def _centre(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = max(height - PATCH, 0) // 2, max(width - PATCH, 0) // 2
    return image[top : top + PATCH, left : left + PATCH]
