"""ECBSR: Zhang, Zeng, Zhang, "Edge-oriented Convolution Block for Real-time Super Resolution on
Mobile Devices", ACM MM 2021.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.folding import Foldable, add_identity
from srdeploy.models.layers import conv3x3, image_facts, nearest

SOBEL_X = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
SOBEL_Y = ((1.0, 2.0, 1.0), (0.0, 0.0, 0.0), (-1.0, -2.0, -1.0))
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))

Merged = tuple[Tensor, Tensor]
"""The weight ``[out, in, 3, 3]`` and the bias ``[out]`` of an equal convolution."""


class ExpandingBranch(nn.Module):
    """A 1x1 convolution to more channels, then a 3x3 one (section 3.2, component 2).

    The border of what is between them holds the bias of the first (section 3.3), so that both are
    one convolution with a border of zeros.
    """

    def __init__(self, n_in: int, n_out: int, n_between: int) -> None:
        super().__init__()
        first, second = nn.Conv2d(n_in, n_between, 1), nn.Conv2d(n_between, n_out, 3)
        assert first.bias is not None
        assert second.bias is not None
        self.k0, self.b0 = first.weight, first.bias
        self.k1, self.b1 = second.weight, second.bias

    def merged(self) -> Merged:
        """As one convolution."""
        weight = torch.einsum("omhw,mi->oihw", self.k1, self.k0[:, :, 0, 0])
        return weight, torch.einsum("omhw,m->o", self.k1, self.b0) + self.b1


class EdgeBranch(nn.Module):
    """A 1x1 convolution, then a fixed filter times a factor per channel (components 3 to 5)."""

    mask: Tensor

    def __init__(self, n_in: int, n_out: int, filters: tuple[tuple[float, ...], ...]) -> None:
        super().__init__()
        first = nn.Conv2d(n_in, n_out, 1)
        assert first.bias is not None
        self.k0, self.b0 = first.weight, first.bias
        self.scale = nn.Parameter(torch.randn(n_out, 1, 1, 1) * 1e-3)
        self.bias = nn.Parameter(torch.randn(n_out) * 1e-3)
        self.register_buffer("mask", torch.tensor(filters).expand(n_out, 1, 3, 3).clone())

    def merged(self) -> Merged:
        """As one convolution."""
        filters = self.scale * self.mask
        return filters * self.k0, filters.sum((1, 2, 3)) * self.b0 + self.bias


class EdgeBlock(Foldable):
    """A 3x3 convolution beside four branches, then an activation (section 3.2).

    Args:
        n_in: Channels of the input.
        n_out: Channels of the output.
        multiplier: Channels inside the expanding branch over those of the output; None for the
            folded form, of one convolution.
        identity: Whether the input is added, where it has as many channels as the output.
        activation: None for none.
    """

    kept = "conv3x3"
    dropped = ("conv1x1_3x3", "conv1x1_sbx", "conv1x1_sby", "conv1x1_lpl")

    def __init__(
        self,
        n_in: int,
        n_out: int,
        multiplier: float | None,
        identity: bool,
        activation: nn.Module | None,
    ) -> None:
        super().__init__()
        self.expanded = multiplier is not None
        self.identity = identity
        self.conv3x3 = conv3x3(n_in, n_out)
        if multiplier is not None:
            self.conv1x1_3x3 = ExpandingBranch(n_in, n_out, max(round(n_out * multiplier), 1))
            self.conv1x1_sbx = EdgeBranch(n_in, n_out, SOBEL_X)
            self.conv1x1_sby = EdgeBranch(n_in, n_out, SOBEL_Y)
            self.conv1x1_lpl = EdgeBranch(n_in, n_out, LAPLACIAN)
        self.act = activation or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, n_in, H, W] to [N, n_out, H, W]."""
        return self.act(self.convolve(x))

    def merged(self) -> Merged:
        """The expanded block as one convolution (equations 6 to 9)."""
        weight, bias = self.conv3x3.weight, self.conv3x3.bias
        assert bias is not None
        branches = (self.conv1x1_3x3, self.conv1x1_sbx, self.conv1x1_sby, self.conv1x1_lpl)
        for more_weight, more_bias in (branch.merged() for branch in branches):
            weight, bias = weight + more_weight, bias + more_bias
        square = weight.shape[0] == weight.shape[1]
        return add_identity(weight) if self.identity and square else weight, bias


class ECBSR(nn.Module):
    """Edge-oriented blocks, then PixelShuffle, on the nearest-neighbour image.

    Args:
        scale: Upscaling factor.
        n_blocks: Blocks between the first and the last one (``m``).
        n_feats: Channels between blocks (``c``).
        multiplier: Channels inside the expanding branches over those of the block's output.
        expanded: Whether blocks have their branches for training.
        identity: Whether expanded blocks add their input, where it is as wide as their output.
        prelu: PReLU, as published; else ReLU.
        channels: Of the image: 1, luma, as published, or 3.
        value_range: Pixel values run from 0 to this.
    """

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 4,
        n_feats: int = 16,
        multiplier: float = 2.0,
        expanded: bool = True,
        identity: bool = False,
        prelu: bool = True,
        channels: int = 1,
        value_range: float = 255.0,
    ) -> None:
        super().__init__()
        self.scale, self.channels, self.value_range = scale, channels, value_range
        widths = [channels, *[n_feats] * (n_blocks + 1), channels * scale**2]
        inside = multiplier if expanded else None
        blocks: list[nn.Module] = []
        for i in range(n_blocks + 2):
            activation = nn.PReLU(widths[i + 1]) if prelu else nn.ReLU()
            last = i == n_blocks + 1
            blocks.append(
                EdgeBlock(widths[i], widths[i + 1], inside, identity, None if last else activation)
            )
        self.backbone = nn.Sequential(*blocks)
        self.upsampler = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] in 0..value_range to [N, channels, H*scale, W*scale]."""
        return self.upsampler(self.backbone(x)) + nearest(x, self.scale)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return image_facts(self, 2 * len(self.backbone) + 1, self.value_range)
