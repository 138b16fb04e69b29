"""QuickSRNet: Berger et al., "QuickSRNet: Plain Single-Image Super-Resolution Architecture for
Faster Inference on Mobile Platforms", MAI 2023, with the tensors of Qualcomm's AIMET model zoo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.layers import NearestAnchor, conv3x3, image_facts


class QuickSRNet(nn.Module):
    """Convolutions whose outputs are clipped to 0..1, then PixelShuffle; the defaults are Small.

    Args:
        scale: Upscaling factor.
        n_layers: Convolutions before the last one (Small: 3, Medium: 6, Large: 12).
        n_feats: Channels (Small and Medium: 32, Large: 64).
        anchor: Add the image to the last convolution's output through a 1x1 convolution that
            begins as nearest neighbour (Large).
        channels: Of the image: 3, or 1 for luma.
    """

    def __init__(
        self,
        scale: int = 2,
        n_layers: int = 3,
        n_feats: int = 32,
        anchor: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.n_layers = n_layers
        self.channels = channels
        layers: list[nn.Module] = []
        for i in range(n_layers):
            layers += [conv3x3(n_feats if i else channels, n_feats), nn.Hardtanh(0.0, 1.0)]
        self.cnn = nn.Sequential(*layers)
        self.conv_last = conv3x3(n_feats, channels * scale**2)
        self.anchor = NearestAnchor(channels, scale, trains=True) if anchor else None
        self.clip_output = nn.Hardtanh(0.0, 1.0)
        self.depth_to_space = nn.PixelShuffle(scale)
        self._begin_as_nearest()

    def _begin_as_nearest(self) -> None:
        """Add the identity to the filters (section 3.2), so that training begins near the image."""
        convs = [layer for layer in self.cnn if isinstance(layer, nn.Conv2d)]
        repeats = dict.fromkeys(convs, 1)
        if self.anchor is None:
            repeats[self.conv_last] = self.scale**2
        for layer, times in repeats.items():
            if layer.weight.is_meta:
                continue
            with torch.no_grad():
                for i in range(min(layer.out_channels, layer.in_channels * times)):
                    layer.weight[i, i // times, 1, 1] += 1.0

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] in 0..1 to [N, channels, H*scale, W*scale], clipped to 0..1."""
        y = self.conv_last(self.cnn(x))
        if self.anchor is not None:
            y = y + self.anchor(x)
        return self.depth_to_space(self.clip_output(y))

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return image_facts(self, 2 * (self.n_layers + 1) + 1)
