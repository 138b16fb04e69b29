"""RIRSR: RCAN (Zhang et al., ECCV 2018) without channel attention, the base network of SRPN
(SRP, ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from srdeploy.models.layers import (
    UPSAMPLER_RADIUS,
    ResidualBlock,
    SkipNetwork,
    conv3x3,
    upsampler,
)


class ResidualGroup(nn.Module):
    """Blocks and a convolution inside a skip connection."""

    def __init__(self, n_feats: int, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(*blocks, conv3x3(n_feats, n_feats))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, n_feats, H, W] to the same."""
        return x + self.body(x)


class RIRSR(SkipNetwork):
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
        super().__init__(scale, n_feats, mean_shift, value_range)
        groups: list[nn.Module] = [
            ResidualGroup(n_feats, (ResidualBlock(n_feats, res_scale) for _ in range(n_blocks)))
            for _ in range(n_groups)
        ]
        self.body = nn.Sequential(*groups, conv3x3(n_feats, n_feats))
        self.tail = nn.Sequential(upsampler(scale, n_feats), conv3x3(n_feats, 3))
        self.radius = 2 + n_groups * (2 * n_blocks + 1) + UPSAMPLER_RADIUS
