"""SRResNet: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
Adversarial Network", CVPR 2017, without batch normalisation: as ESRGAN's code of 2018 trains it,
under the names that it gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from srdeploy.models.layers import conv3x3, image_facts, upsampler


class Residual(nn.Module):
    """A branch that is added to its input.

    Args:
        name: Of the branch, in files.
        branch: [N, C, H, W] to the same.
    """

    def __init__(self, name: str, branch: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, branch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] to the same."""
        return x + self.get_submodule(self.name)(x)


class SRResNet(nn.Module):
    """Residual blocks in a long skip, PixelShuffles with a ReLU each, then two convolutions.

    Args:
        scale: 1, 2, 3, 4 or 8.
        n_blocks: Residual blocks (16; 23 in ESRGAN's code).
        n_feats: Channels (64).
        channels: Of the image.
    """

    def __init__(
        self, scale: int = 4, n_blocks: int = 16, n_feats: int = 64, channels: int = 3
    ) -> None:
        super().__init__()
        self.scale, self.n_blocks, self.channels = scale, n_blocks, channels

        def pair() -> nn.Sequential:
            return nn.Sequential(
                conv3x3(n_feats, n_feats), nn.ReLU(inplace=True), conv3x3(n_feats, n_feats)
            )

        blocks = [Residual("res", pair()) for _ in range(n_blocks)]
        stages: list[nn.Module] = []
        for layer in upsampler(scale, n_feats):
            stages += [layer] if isinstance(layer, nn.Conv2d) else [layer, nn.ReLU(inplace=True)]
        self.model = nn.Sequential(
            conv3x3(channels, n_feats),
            Residual("sub", nn.Sequential(*blocks, conv3x3(n_feats, n_feats))),
            *stages,
            conv3x3(n_feats, n_feats),
            nn.ReLU(inplace=True),
            conv3x3(n_feats, channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] in 0..1 to [N, channels, H*scale, W*scale]."""
        return self.model(x)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return image_facts(self, 4 * self.n_blocks + 9)
