"""RFDN: Liu et al., "Residual Feature Distillation Network for Lightweight Image Super-Resolution",
ECCV Workshops 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.attention import SpatialAttention
from srdeploy.models.distillation import SLOPE, DistillationNetwork
from srdeploy.models.layers import conv3x3


class FeatureDistillationBlock(nn.Module):
    """Three shallow residual layers, a part of each kept by a 1x1 convolution (section 3.2)."""

    def __init__(
        self, n_feats: int, n_distilled: int, esa_feats: int, residual: bool, dilated: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        for i, reach in enumerate((1, 2, 5) if dilated else (1, 1, 1), 1):
            self.add_module(f"c{i}_d", nn.Conv2d(n_feats, n_distilled, 1))
            refine = nn.Conv2d(n_feats, n_feats, 3, padding=reach, dilation=reach)
            self.add_module(f"c{i}_r", refine)
        self.c4 = conv3x3(n_feats, n_distilled)
        self.c5 = nn.Conv2d(4 * n_distilled, n_feats, 1)
        self.esa = SpatialAttention(n_feats, esa_feats, deep=True)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to as many channels as the next block reads."""
        kept: list[Tensor] = []
        for i in (1, 2, 3):
            distil, refine = self.get_submodule(f"c{i}_d"), self.get_submodule(f"c{i}_r")
            kept.append(functional.leaky_relu(distil(x), SLOPE))
            x = functional.leaky_relu(refine(x) + x if self.residual else refine(x), SLOPE)
        kept.append(functional.leaky_relu(self.c4(x), SLOPE))
        return self.esa(self.c5(torch.cat(kept, 1)))


class RFDN(DistillationNetwork):
    """Blocks of feature distillation, whose outputs are fused.

    Args:
        scale: 2, 3 or 4 (or 8).
        n_blocks: Blocks (4).
        n_feats: Channels (50).
        n_distilled: Channels that each layer of a block keeps (25).
        esa_feats: Channels inside the spatial attention (12).
        residual: The layers that refine add their input, as in the paper.
        dilated: They are dilated by 1, 2 and 5 (a network of the NTIRE 2022 challenge).
        value_range: Pixel values run from 0 to this.
    """

    smallest = SpatialAttention.SMALLEST

    def __init__(
        self,
        scale: int = 4,
        n_blocks: int = 4,
        n_feats: int = 50,
        n_distilled: int = 25,
        esa_feats: int = 12,
        residual: bool = True,
        dilated: bool = False,
        value_range: float = 255.0,
    ) -> None:
        blocks = (
            FeatureDistillationBlock(n_feats, n_distilled, esa_feats, residual, dilated)
            for _ in range(n_blocks)
        )
        super().__init__(scale, n_feats, blocks, "B", fused=True, value_range=value_range)
