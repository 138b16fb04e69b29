"""PLKSR and RealPLKSR.

PLKSR: Lee, Yun, Ro, "Partial Large Kernel CNNs for Efficient Super-Resolution", 2024
(arXiv:2404.11848). RealPLKSR is its form for photographs, of the project neosr.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.layers import ChannelSplit, conv3x3, nearest


class PartialConv(nn.Module):
    """A convolution with a large kernel on the first channels; the others pass (section 3.2).

    How many the first are is read off the convolution, so that pruning may remove some of both.
    """

    def __init__(self, n_feats: int, side: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n_feats, n_feats, side, padding=side // 2)
        self.split = ChannelSplit()

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same, C at least the convolution's channels."""
        first, others = self.split(x, self.conv.in_channels)
        return torch.cat([self.conv(first), others], 1)


class ElementAttention(nn.Module):
    """A factor for each element of the input, computed by a 3x3 convolution (section 3.3)."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.f = nn.Sequential(conv3x3(n_feats, n_feats), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        return x * self.f(x)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_feats))
        self.bias = nn.Parameter(torch.zeros(n_feats))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to the same."""
        centred = x - x.mean(1, keepdim=True)
        deviation = torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-6)
        return self.weight[:, None, None] * (centred / deviation) + self.bias[:, None, None]


def _mixer(n_feats: int, first: int, last: int, activation: nn.Module) -> nn.Sequential:
    """To twice the channels and back (section 3.1)."""
    return nn.Sequential(
        nn.Conv2d(n_feats, 2 * n_feats, first, padding=first // 2),
        activation,
        nn.Conv2d(2 * n_feats, n_feats, last, padding=last // 2),
    )


class PLKBlock(nn.Module):
    """Channel mixer, partial large kernel, attention and a 1x1 convolution, plus the input."""

    def __init__(
        self, n_feats: int, n_partial: int, side: int, first: int, last: int, attention: bool
    ) -> None:
        super().__init__()
        self.channe_mixer = _mixer(n_feats, first, last, nn.GELU())  # its published name
        self.lk = PartialConv(n_partial, side)
        self.attn = ElementAttention(n_feats) if attention else nn.Identity()
        self.refine = nn.Conv2d(n_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, n_feats, H, W] to the same."""
        return x + self.refine(self.attn(self.lk(self.channe_mixer(x))))


class RealPLKBlock(nn.Module):
    """The same with Mish and one normalisation: of pixels before it, or of groups at its end."""

    def __init__(
        self, n_feats: int, n_partial: int, side: int, attention: bool, norm_groups: int | None
    ) -> None:
        super().__init__()
        self.layer_norm = nn.Identity() if norm_groups else ChannelNorm(n_feats)
        self.channel_mixer = _mixer(n_feats, 3, 3, nn.Mish())
        self.lk = PartialConv(n_partial, side)
        self.attn = ElementAttention(n_feats) if attention else nn.Identity()
        self.refine = nn.Conv2d(n_feats, n_feats, 1)
        self.norm = nn.GroupNorm(norm_groups, n_feats) if norm_groups else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, n_feats, H, W] to the same."""
        y = self.lk(self.channel_mixer(self.layer_norm(x)))
        return x + self.norm(self.refine(self.attn(y)))


class PLKFrame(nn.Module):
    """Blocks between two 3x3 convolutions, then PixelShuffle, on the nearest-neighbour image.

    A subclass gives the blocks, and says how far they reach.

    Args:
        scale: Upscaling factor; 1 restores.
        n_feats: Channels between blocks.
        blocks: All that is between the two convolutions.
    """

    def __init__(self, scale: int, n_feats: int, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.scale = scale
        ends = conv3x3(3, n_feats), conv3x3(n_feats, 3 * scale**2)
        self.feats = nn.Sequential(ends[0], *blocks, ends[1])
        self.to_img = nn.PixelShuffle(scale)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and not layer.weight.is_meta:
                nn.init.trunc_normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] in 0..1 to [N, 3, H*scale, W*scale]."""
        return self.to_img(self.feats(x)) + nearest(x, self.scale)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return {
            "scale": self.scale,
            "scales": (self.scale,),
            "channels": 3,
            "value_range": 1.0,
            "receptive_field": self.receptive_field,
        }

    @property
    def receptive_field(self) -> int:
        """Side, in input pixels, of what an output pixel depends on; 0 for the whole image."""
        raise NotImplementedError


class PLKSR(PLKFrame):
    """PLKSR; the defaults are the published network, without arguments that only ablations change.

    Args:
        scale: Upscaling factor.
        n_blocks: Blocks (28; tiny: 12).
        n_feats: Channels (64).
        n_partial: Channels that the large kernel sees (16).
        side: Of the large kernel (17; tiny: 13).
        first: Side of the channel mixer's first kernel, 3 or 1.
        last: Side of its last kernel, 3 or 1.
        attention: Whether blocks have element-wise attention (tiny: not).
    """

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 28,
        n_feats: int = 64,
        n_partial: int = 16,
        side: int = 17,
        first: int = 3,
        last: int = 3,
        attention: bool = True,
    ) -> None:
        blocks: list[nn.Module] = [
            PLKBlock(n_feats, n_partial, side, first, last, attention) for _ in range(n_blocks)
        ]
        super().__init__(scale, n_feats, blocks)
        self.radius = 2 + n_blocks * (first // 2 + last // 2 + side // 2 + attention)

    @property
    def receptive_field(self) -> int:
        """Twice the reach, and the pixel itself."""
        return 2 * self.radius + 1


class RealPLKSR(PLKFrame):
    """RealPLKSR; the defaults are the published network.

    Args:
        scale: Upscaling factor; 1 restores.
        n_blocks: Blocks (28; small: 12).
        n_feats: Channels (64), a multiple of the groups.
        n_partial: Channels that the large kernel sees (16).
        side: Of the large kernel (17).
        attention: Whether blocks have element-wise attention.
        layer_norm: Normalise each pixel before a block, in place of groups of channels after it.
        norm_groups: Groups of channels in the latter (4 in all published configurations).
    """

    def __init__(
        self,
        scale: int = 4,
        n_blocks: int = 28,
        n_feats: int = 64,
        n_partial: int = 16,
        side: int = 17,
        attention: bool = True,
        layer_norm: bool = False,
        norm_groups: int = 4,
    ) -> None:
        groups = None if layer_norm else norm_groups
        blocks: list[nn.Module] = [
            RealPLKBlock(n_feats, n_partial, side, attention, groups) for _ in range(n_blocks)
        ]
        super().__init__(scale, n_feats, [*blocks, nn.Identity()])  # dropout, in training code
        self.layer_norm = layer_norm
        self.pooled_field = 2 * (2 + n_blocks * (2 + side // 2 + attention)) + 1

    @property
    def receptive_field(self) -> int:
        """0 with GroupNorm, which averages over the whole image."""
        return self.pooled_field if self.layer_norm else 0
