"""VDSR: Kim, Lee, Lee, "Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
CVPR 2016.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from srdeploy.models.layers import conv3x3


class ConvReLU(nn.Module):
    """One inner layer, named as in the published checkpoints."""

    def __init__(self, n_feats: int, bias: bool) -> None:
        super().__init__()
        self.conv = conv3x3(n_feats, n_feats, bias)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, n_feats, H, W] to the same."""
        return self.relu(self.conv(x))


class VDSR(nn.Module):
    """``n_layers`` 3x3 convolutions on the bicubic-upscaled Y channel; output = input + residual.

    Args:
        scale: The factor this copy serves by default; the weights serve 2, 3 and 4.
        n_layers: All convolutions (the paper: 20).
        n_feats: Channels between them (the paper: 64).
        bias: The published weights have none.
    """

    def __init__(
        self, scale: int = 2, n_layers: int = 20, n_feats: int = 64, bias: bool = False
    ) -> None:
        super().__init__()
        self.scale = scale
        self.n_layers = n_layers
        self.input = conv3x3(1, n_feats, bias)
        self.relu = nn.ReLU(inplace=True)
        self.residual_layer = nn.Sequential(*[ConvReLU(n_feats, bias) for _ in range(n_layers - 2)])
        self.output = conv3x3(n_feats, 1, bias)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 1, H, W] in 0..1, already at the output size, to the same shape."""
        return x + self.output(self.residual_layer(self.relu(self.input(x))))

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return {
            "scale": self.scale,
            "scales": tuple(sorted({2, 3, 4, self.scale})),
            "channels": 1,
            "value_range": 1.0,
            "luma_only": True,
            "pre_upscaled": True,
            "receptive_field": 2 * self.n_layers + 1,
        }
