"""Where sparse begins to pay: networks whose masks have a density that is asked for."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.smsr.dense import DenseMasks, DenseModule
from srdeploy.models.smsr.network import SMSR

_APART = 1e-3
"""Of the largest logit: how far the threshold is from all of them where none or all is inside."""


def with_density(network: SMSR, image: Tensor, density: float) -> SMSR:
    """A copy whose masks have this share of an image's pixels inside, in every module.

    Their thresholds are moved: the pixels that the network finds busiest are inside.

    Args:
        network: Stays as it is.
        image: ``float32 [1, 3, H, W]`` in 0..value_range.
        density: 0..1.
    """
    moved = copy.deepcopy(network)
    frame = DenseMasks(copy.deepcopy(network))
    height, width = image.shape[2:]
    shifts: list[float] = []

    def move(layer: nn.Module, inputs: Any, logits: Tensor) -> Tensor:
        """The modules behind see the mask that this one shall have."""
        seen = logits[0, 0, :height, :width].flatten().sort().values
        apart = _APART * max(float(seen.abs().max()), 1e-6)
        outside = round((1 - density) * len(seen))
        edges = torch.cat([seen[:1] - apart, seen, seen[-1:] + apart])
        shift = float(edges[outside : outside + 2].mean())
        shifts.append(shift)
        return logits - shift

    for module in frame.body:
        assert isinstance(module, DenseModule)
        module.unmasked = False
        module.spa_mask.last.register_forward_hook(move)
    with torch.inference_mode():
        frame(image)
    with torch.no_grad():
        for module, shift in zip(moved.mask_modules(), shifts, strict=True):
            last = module.spa_mask[5]
            assert isinstance(last, nn.ConvTranspose2d)
            assert last.bias is not None
            last.bias[1] -= shift
    return moved


def crossing(densities: Sequence[float], rows_ms: Sequence[float], dense_ms: float) -> float:
    """Density where rows stop being quicker than dense, interpolated; 0 never, 1 always."""
    if rows_ms[0] > dense_ms:
        return 0.0
    pairs = list(zip(densities, rows_ms, strict=True))
    for (d0, r0), (d1, r1) in pairwise(pairs):
        if r1 > dense_ms:
            return d0 + (d1 - d0) * (dense_ms - r0) / (r1 - r0)
    return 1.0
