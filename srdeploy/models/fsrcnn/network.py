"""FSRCNN: Dong, Loy, Tang, "Accelerating the Super-Resolution Convolutional Neural Network",
ECCV 2016.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from srdeploy.models.layers import conv3x3, image_facts

KERNEL = 9
"""Side of the transposed convolution's filters, whatever the scale."""


class FSRCNN(nn.Module):
    """Feature extraction, shrinking, mapping and expanding, then a transposed convolution.

    PReLU with one slope per channel is behind every convolution.

    Args:
        scale: Upscaling factor: the stride of the transposed convolution. Weights do not show it.
        n_layers: Mapping layers (``m``, the paper: 4).
        n_feats: Channels of the first and the expanding layer (``d``, the paper: 56).
        n_shrunk: Channels between shrinking and expanding (``s``, the paper: 12).
        channels: Of the image: 1, luma, as published, or 3.
    """

    def __init__(
        self,
        scale: int = 2,
        n_layers: int = 4,
        n_feats: int = 56,
        n_shrunk: int = 12,
        channels: int = 1,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.n_layers = n_layers
        self.channels = channels
        self.first_part = nn.Sequential(
            nn.Conv2d(channels, n_feats, 5, padding=2), nn.PReLU(n_feats)
        )
        layers: list[nn.Module] = [nn.Conv2d(n_feats, n_shrunk, 1), nn.PReLU(n_shrunk)]
        for _ in range(n_layers):
            layers += [conv3x3(n_shrunk, n_shrunk), nn.PReLU(n_shrunk)]
        layers += [nn.Conv2d(n_shrunk, n_feats, 1), nn.PReLU(n_feats)]
        self.mid_part = nn.Sequential(*layers)
        self.last_part = nn.ConvTranspose2d(
            n_feats, channels, KERNEL, scale, padding=KERNEL // 2, output_padding=scale - 1
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] in 0..1 to [N, channels, H*scale, W*scale]."""
        return self.last_part(self.mid_part(self.first_part(x)))

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        reach = 2 + self.n_layers + KERNEL // 2 // self.scale
        return image_facts(self, 2 * reach + 1)
