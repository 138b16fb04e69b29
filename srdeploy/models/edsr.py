"""EDSR and its lite-tailed sibling.

EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017.
LEDSR: the same body with one convolution and a PixelShuffle as its tail, the base network of
SRPN-Lite (SRP, ICLR 2022) and ASSLN (ASSL, NeurIPS 2021), and of the MLPerf Mobile benchmark.
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


class EDSR(nn.Module):
    """Mean shift, head, residual blocks, long skip, tail, mean shift.

    Args:
        scale: 2, 3 or 4 (or 8).
        n_blocks: Residual blocks (baseline 16, full 32).
        n_feats: Channels (baseline 64, full 256).
        res_scale: Factor on each block's branch (full: 0.1).
        mean_shift: Subtract the DIV2K mean at the input and add it back at the output.
        value_range: Pixel values run from 0 to this.
    """

    lite_tail = False

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 16,
        n_feats: int = 64,
        res_scale: float = 1.0,
        mean_shift: bool = True,
        value_range: float = 255.0,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.n_blocks = n_blocks
        self.value_range = value_range
        self.mean = DIV2K_MEAN if mean_shift else None
        if self.mean is not None:
            self.sub_mean = MeanShift(value_range, self.mean, sign=-1)
            self.add_mean = MeanShift(value_range, self.mean, sign=1)
        self.head = nn.Sequential(conv3x3(3, n_feats))
        blocks: list[nn.Module] = [ResidualBlock(n_feats, res_scale) for _ in range(n_blocks)]
        self.body = nn.Sequential(*blocks, conv3x3(n_feats, n_feats))
        if self.lite_tail:
            self.tail = nn.Sequential(conv3x3(n_feats, 3 * scale**2), nn.PixelShuffle(scale))
        else:
            self.tail = nn.Sequential(upsampler(scale, n_feats), conv3x3(n_feats, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in 0..value_range to [N, 3, H*scale, W*scale]."""
        if self.mean is not None:
            x = self.sub_mean(x)
        x = self.head(x)
        x = x + self.body(x)
        x = self.tail(x)
        return x if self.mean is None else self.add_mean(x)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        radius = 1 + 2 * self.n_blocks + 1 + (1 if self.lite_tail else UPSAMPLER_RADIUS)
        return {
            "scale": self.scale,
            "scales": (self.scale,),
            "channels": 3,
            "value_range": self.value_range,
            "mean_shift": self.mean,
            "receptive_field": 2 * radius + 1,
        }


class LEDSR(EDSR):
    """EDSR with the lite tail: conv to 3*scale^2 channels, then PixelShuffle."""

    lite_tail = True
