"""PixelNet: an example, three convolutions and a PixelShuffle, as in ESPCN."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from srdeploy.models.importing.layouts import Importer, Layout, Tensors, has


class PixelNet(nn.Module):
    """Three convolutions on luma and a PixelShuffle.

    Args:
        scale: Upscaling factor.
        n_feats: Channels of the first convolution; the second has half of them.
    """

    def __init__(self, scale: int = 2, n_feats: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.features = nn.Sequential(
            nn.Conv2d(1, n_feats, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(n_feats, n_feats // 2, 3, padding=1),
            nn.Tanh(),
        )
        self.upsample = nn.Sequential(
            nn.Conv2d(n_feats // 2, scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 1, H, W] in 0..1 to [N, 1, scale * H, scale * W]."""
        return self.upsample(self.features(x))

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return {
            "scale": self.scale,
            "scales": (self.scale,),
            "channels": 1,
            "value_range": 1.0,
            "luma_only": True,
            "receptive_field": 9,
        }


def recognises(tensors: Tensors) -> bool:
    """By the names of its published implementation."""
    return has(tensors, r"upsample\.0\.") and has(tensors, r"features\.2\.")


def lay_out(layout: Layout) -> None:
    """Three convolutions; the last one shows the scale."""
    n_out = layout.channels("upsample.0.weight", 0)
    layout.config["scale"] = math.isqrt(n_out)
    layout.conv("features.0", "first", 1, kernel=5)
    layout.conv("features.2", "second", "first")
    layout.conv("upsample.0", n_out, "second")


IMPORTER = Importer(recognises, lay_out)
