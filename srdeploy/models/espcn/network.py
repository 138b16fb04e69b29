"""ESPCN: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient
Sub-Pixel Convolutional Neural Network", CVPR 2016.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import nn

from srdeploy.models.layers import conv3x3, image_facts


class ESPCN(nn.Module):
    """A 5x5 and 3x3 convolutions at low resolution, each with tanh behind it, then PixelShuffle.

    Args:
        scale: Upscaling factor.
        n_layers: Convolutions before the last one (the paper: 2).
        n_feats: Channels of the first convolution (the paper: 64).
        n_hidden: Channels of those between it and the last one (the paper: 32).
        channels: Of the image: 1, luma, as published, or 3.
        tanh: As published; else ReLU.
    """

    def __init__(
        self,
        scale: int = 3,
        n_layers: int = 2,
        n_feats: int = 64,
        n_hidden: int = 32,
        channels: int = 1,
        tanh: bool = True,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.n_layers = n_layers
        self.channels = channels
        activation = nn.Tanh if tanh else nn.ReLU
        widths = [n_feats, *[n_hidden] * (n_layers - 1)]
        layers: list[nn.Module] = [nn.Conv2d(channels, n_feats, 5, padding=2), activation()]
        for n_in, n_out in pairwise(widths):
            layers += [conv3x3(n_in, n_out), activation()]
        self.first_part = nn.Sequential(*layers)
        self.last_part = nn.Sequential(
            conv3x3(widths[-1], channels * scale**2), nn.PixelShuffle(scale)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] in 0..1 to [N, channels, H*scale, W*scale]."""
        return self.last_part(self.first_part(x))

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return image_facts(self, 2 * (self.n_layers + 2) + 1)
