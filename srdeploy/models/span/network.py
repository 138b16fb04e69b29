"""SPAN: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution",
CVPRW 2024. The three-branch convolutions with which it is trained (figure 3) are single ones here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.layers import DIV2K_MEAN, conv3x3, image_facts

IMG_RANGE = 255.0
"""The factor on the input that the published networks have."""

UNNORMALISED = "no_norm"
"""The buffer by which files say that the input is taken as it is; its value means nothing."""


class Block(nn.Module):
    """Swift parameter-free attention block: three convolutions, whose result weighs itself."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.c1_r = conv3x3(n_feats, n_feats)
        self.c2_r = conv3x3(n_feats, n_feats)
        self.c3_r = conv3x3(n_feats, n_feats)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, n_feats, H, W] to two of the same: the result, and that of the first convolution."""
        first = functional.silu(self.c1_r(x))
        y = self.c3_r(functional.silu(self.c2_r(first)))
        return (y + x) * (torch.sigmoid(y) - 0.5), first  # equations 4 to 6


class SPAN(nn.Module):
    """Attention blocks in a chain; four results are joined and go to a PixelShuffle.

    Args:
        scale: 1, 2, 3, 4 or 8.
        n_blocks: Attention blocks (6).
        n_feats: Channels (48).
        channels: Of the image.
        norm: Subtract the DIV2K mean from the input, and multiply by 255.

    Attributes:
        mean: What is subtracted, ``[1, channels, 1, 1]``.
        img_range: What the difference is multiplied by, ``[1]``.
    """

    mean: Tensor
    img_range: Tensor

    def __init__(
        self,
        scale: int = 4,
        n_blocks: int = 6,
        n_feats: int = 48,
        channels: int = 3,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.scale, self.n_blocks, self.channels, self.norm = scale, n_blocks, channels, norm
        buffers = normalisation(channels) if norm else {UNNORMALISED: torch.zeros(1)}
        for name, value in buffers.items():
            self.register_buffer(name, value)
        self.conv_1 = conv3x3(channels, n_feats)
        for i in range(n_blocks):
            self.add_module(f"block_{i + 1}", Block(n_feats))
        self.conv_cat = nn.Conv2d(4 * n_feats, n_feats, 1)
        self.conv_2 = conv3x3(n_feats, n_feats)
        self.upsampler = nn.Sequential(
            conv3x3(n_feats, channels * scale**2), nn.PixelShuffle(scale)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] in 0..1 to [N, channels, H*scale, W*scale]."""
        if self.norm:
            x = (x - self.mean) * self.img_range
        start = self.conv_1(x)
        early, inside = self.get_submodule("block_1")(start)
        y = early
        for i in range(1, self.n_blocks):
            y, inside = self.get_submodule(f"block_{i + 1}")(y)
        y = self.conv_cat(torch.cat([start, self.conv_2(y), early, inside], 1))
        return self.upsampler(y)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return image_facts(self, 6 * self.n_blocks + 7)


def normalisation(channels: int) -> dict[str, Tensor]:
    """The buffers of a network with ``norm``, as published; for other images than RGB the mean is
    that of the three colours.
    """
    mean = torch.tensor(DIV2K_MEAN)
    mean = mean if channels == len(DIV2K_MEAN) else mean.mean().expand(channels)
    return {"mean": mean.reshape(1, -1, 1, 1).clone(), "img_range": torch.tensor([IMG_RANGE])}
