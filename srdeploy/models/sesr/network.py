"""SESR: Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super Resolution", MLSys
2022, with the tensors of its PyTorch port in Qualcomm's AIMET model zoo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.folding import Foldable, add_identity
from srdeploy.models.layers import NearestAnchor, image_facts


class LinearBlock(Foldable):
    """A convolution to many channels and a 1x1 convolution back, then an activation (section 3.1).

    Args:
        n_in: Channels of the input.
        n_out: Channels of the output.
        side: Of the first convolution's filters.
        n_expanded: Channels between the two; None for the folded form, of one convolution.
        activation: None for none.
        residual: Add the input before the activation; folding adds the identity to the filters.
    """

    kept = "conv_expand"
    dropped = ("conv_squeeze",)

    def __init__(
        self,
        n_in: int,
        n_out: int,
        side: int,
        n_expanded: int | None,
        activation: nn.Module | None,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.expanded = n_expanded is not None
        self.residual = residual
        self.conv_expand = nn.Conv2d(
            n_in, n_expanded or n_out, side, padding=side // 2, bias=not self.expanded
        )
        if n_expanded is not None:
            self.conv_squeeze = nn.Conv2d(n_expanded, n_out, 1)
        self.activation = activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, n_in, H, W] to [N, n_out, H, W]."""
        return self.activation(self.convolve(x))

    def merged(self) -> tuple[Tensor, Tensor]:
        """The product of the filters, and the identity in their middle (section 3.3)."""
        first, last = self.conv_expand, self.conv_squeeze
        assert last.bias is not None
        weight = torch.einsum("om,mihw->oihw", last.weight[:, :, 0, 0], first.weight)
        return add_identity(weight) if self.residual else weight, last.bias


class SESR(nn.Module):
    """Blocks between a long skip of features and one of the image; the defaults are SESR-M5.

    Args:
        scale: Upscaling factor.
        n_blocks: Blocks with 3x3 filters (the paper: 3, 5, 7 or 11).
        n_feats: Channels (the paper: 16, or 32 for SESR-XL).
        n_expanded: Channels inside a block while it trains (the paper: 256).
        expanded: Whether blocks have their layers for training.
        prelu: PReLU with one slope per block, as in the paper; else ReLU, as in the model zoo.
        channels: Of the image: 3, or 1 for luma.
    """

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 5,
        n_feats: int = 16,
        n_expanded: int = 256,
        expanded: bool = True,
        prelu: bool = False,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.n_blocks = n_blocks
        self.channels = channels
        inside = n_expanded if expanded else None
        activation = nn.PReLU if prelu else nn.ReLU
        self.anchor = NearestAnchor(channels, scale)
        self.conv_first = LinearBlock(channels, n_feats, 5, inside, activation())
        self.residual_block = nn.Sequential(
            *[
                LinearBlock(n_feats, n_feats, 3, inside, activation(), residual=True)
                for _ in range(n_blocks)
            ]
        )
        self.conv_last = LinearBlock(n_feats, channels * scale**2, 5, inside, None)
        self.depth_to_space = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] in 0..1 to [N, channels, H*scale, W*scale]."""
        first = self.conv_first(x)
        y = self.conv_last(self.residual_block(first) + first)
        return self.depth_to_space(y + self.anchor(x))

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return image_facts(self, 2 * (self.n_blocks + 4) + 1)
