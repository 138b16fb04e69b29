"""The frame of IMDN and its successors RFDN and RLFN, named as in their published weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from srdeploy.models.layers import ColourNetwork, conv3x3

SLOPE = 0.05
"""Of the leaky ReLUs."""


class DistillationNetwork(ColourNetwork):
    """A convolution, numbered blocks in a long skip, and the lite tail.

    Args:
        scale: Upscaling factor.
        n_feats: Channels.
        blocks: Modules from features to features.
        block_name: The blocks are called so, with numbers from 1.
        fused: The outputs of all blocks are joined by a 1x1 convolution; without, the last one's
            are taken.
        value_range: Pixel values run from 0 to this.
    """

    smallest = 1
    """Height and width that an input must have at least."""

    def __init__(
        self,
        scale: int,
        n_feats: int,
        blocks: Iterable[nn.Module],
        block_name: str,
        fused: bool,
        value_range: float,
    ) -> None:
        super().__init__(scale, mean_shift=False, value_range=value_range)
        self.fea_conv = conv3x3(3, n_feats)
        self.blocks: list[str] = []
        for number, block in enumerate(blocks, 1):
            self.add_module(name := f"{block_name}{number}", block)
            self.blocks.append(name)
        self.fused = fused
        if fused:
            joined = n_feats * len(self.blocks)
            self.c = nn.Sequential(nn.Conv2d(joined, n_feats, 1), nn.LeakyReLU(SLOPE))
        self.LR_conv = conv3x3(n_feats, n_feats)
        self.upsampler = nn.Sequential(conv3x3(n_feats, 3 * scale**2), nn.PixelShuffle(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in 0..value_range to [N, 3, H*scale, W*scale]."""
        y = first = self.fea_conv(x)
        outs: list[torch.Tensor] = []
        for name in self.blocks:
            y = self.get_submodule(name)(y)
            outs.append(y)
        if self.fused:
            y = self.c(torch.cat(outs, 1))
        return self.upsampler(self.LR_conv(y) + first)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return {**super().facts(), "smallest": self.smallest}

    @property
    def receptive_field(self) -> int:
        """0: the attention of the blocks sees the whole image, or its size."""
        return 0
