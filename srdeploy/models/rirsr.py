"""RIRSR: RCAN (Zhang et al., ECCV 2018) without channel attention, the base network of SRPN
(SRP, ICLR 2022).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from srdeploy.models.layers import (
    DIV2K_MEAN,
    UPSAMPLER_RADIUS,
    MeanShift,
    ResidualBlock,
    conv3x3,
    upsampler,
)


class ResidualGroup(nn.Module):
    """Residual blocks and a convolution inside a skip connection."""

    def __init__(self, n_feats: int, n_blocks: int, res_scale: float) -> None:
        super().__init__()
        blocks: list[nn.Module] = [ResidualBlock(n_feats, res_scale) for _ in range(n_blocks)]
        self.body = nn.Sequential(*blocks, conv3x3(n_feats, n_feats))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, n_feats, H, W] to the same."""
        return x + self.body(x)


class RIRSR(nn.Module):
    """Residual groups of residual blocks in a long skip.

    Args:
        scale: 2, 3 or 4 (or 8).
        n_groups: Residual groups (10).
        n_blocks: Blocks in each (20).
        n_feats: Channels (96 before pruning).
        res_scale: Factor on each block's branch.
        mean_shift: Subtract the DIV2K mean at the input and add it back at the output.
        value_range: Pixel values run from 0 to this.
    """

    def __init__(
        self,
        scale: int = 2,
        n_groups: int = 10,
        n_blocks: int = 20,
        n_feats: int = 96,
        res_scale: float = 1.0,
        mean_shift: bool = True,
        value_range: float = 255.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.n_convs = n_groups * (2 * n_blocks + 1) + 1
        self.value_range = value_range
        self.mean = DIV2K_MEAN if mean_shift else None
        if self.mean is not None:
            self.sub_mean = MeanShift(value_range, self.mean, sign=-1)
            self.add_mean = MeanShift(value_range, self.mean, sign=1)
        self.head = nn.Sequential(conv3x3(3, n_feats))
        groups: list[nn.Module] = [
            ResidualGroup(n_feats, n_blocks, res_scale) for _ in range(n_groups)
        ]
        self.body = nn.Sequential(*groups, conv3x3(n_feats, n_feats))
        self.tail = nn.Sequential(upsampler(scale, n_feats), conv3x3(n_feats, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in 0..value_range to [N, 3, H*scale, W*scale]."""
        if self.mean is not None:
            x = self.sub_mean(x)
        x = self.head(x)
        x = self.tail(x + self.body(x))
        return x if self.mean is None else self.add_mean(x)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        radius = 1 + self.n_convs + UPSAMPLER_RADIUS
        return {
            "scale": self.scale,
            "scales": (self.scale,),
            "channels": 3,
            "value_range": self.value_range,
            "mean_shift": self.mean,
            "receptive_field": 2 * radius + 1,
        }
