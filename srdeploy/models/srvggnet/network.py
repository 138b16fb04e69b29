"""SRVGGNetCompact: a plain network at low resolution, of Real-ESRGAN (Wang et al., "Real-ESRGAN:
Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021; its code has this
network for videos).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from srdeploy.models.layers import conv3x3, image_facts, nearest


class SRVGGNetCompact(nn.Module):
    """Convolutions with a PReLU each, then PixelShuffle; output = nearest neighbour + residual.

    Args:
        scale: 1, 2, 3, 4 or 8.
        n_layers: Convolutions between the first and the last (16).
        n_feats: Channels between them (64).
        channels: Of the image.
    """

    def __init__(
        self, scale: int = 4, n_layers: int = 16, n_feats: int = 64, channels: int = 3
    ) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        layers: list[nn.Module] = []
        for i in range(n_layers + 1):
            layers += [conv3x3(n_feats if i else channels, n_feats), nn.PReLU(n_feats)]
        self.body = nn.Sequential(*layers, conv3x3(n_feats, channels * scale**2))
        self.upsampler = nn.PixelShuffle(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] in 0..1 to [N, channels, H*scale, W*scale]."""
        return nearest(x, self.scale) + self.upsampler(self.body(x))

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return image_facts(self, len(self.body) + 2)  # every other one is a convolution
