"""SAFMN: Sun et al., "Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution",
ICCV 2023.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.layers import ColourNetwork, conv3x3

_EPSILON = 1e-6
_MOST_LEVELS = 8


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel."""

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_feats))
        self.bias = nn.Parameter(torch.zeros(n_feats))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        x = x - x.mean(1, keepdim=True)
        x = x / (x.pow(2).mean(1, keepdim=True) + _EPSILON).sqrt()
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class Modulation(nn.Module):
    """SAFM (section 3.1): a part of the channels at each level, pooled twice as much as the last.

    The published code pools adaptively. On sides that are multiples of the largest pool, which is
    what a card of this network asks for, that is the pooling here.
    """

    def __init__(self, n_feats: int, n_levels: int) -> None:
        super().__init__()
        part = n_feats // n_levels
        self.mfr = nn.ModuleList(
            [nn.Conv2d(part, part, 3, padding=1, groups=part) for _ in range(n_levels)]
        )
        self.aggr = nn.Conv2d(n_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        parts: list[Tensor] = []
        for level, part in enumerate(x.chunk(len(self.mfr), 1)):
            pool = 2**level
            y = functional.max_pool2d(part, pool) if level else part
            y = self.mfr[level](y)
            parts.append(functional.interpolate(y, scale_factor=pool) if level else y)
        return functional.gelu(self.aggr(torch.cat(parts, 1))) * x


class Mixer(nn.Module):
    """CCM (section 3.2): channels are mixed by two convolutions."""

    def __init__(self, n_feats: int, hidden_feats: int) -> None:
        super().__init__()
        self.ccm = nn.Sequential(
            conv3x3(n_feats, hidden_feats), nn.GELU(), nn.Conv2d(hidden_feats, n_feats, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        return self.ccm(x)


class MixingBlock(nn.Module):
    """Modulation and mixer, each in a skip and behind a norm (FMM)."""

    def __init__(self, n_feats: int, hidden_feats: int, n_levels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(n_feats), ChannelNorm(n_feats)
        self.safm = Modulation(n_feats, n_levels)
        self.ccm = Mixer(n_feats, hidden_feats)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        x = x + self.safm(self.norm1(x))
        return x + self.ccm(self.norm2(x))


class SAFMN(ColourNetwork):
    """Mixing blocks in a long skip, then one convolution and PixelShuffle.

    Args:
        scale: 2, 3 or 4 (or 8).
        n_blocks: Blocks (8).
        n_feats: Channels (36).
        hidden_feats: Channels inside the mixers (twice as many).
        n_levels: Levels of pooling: by 1, 2, 4, 8... (4).
        value_range: Pixel values run from 0 to this.

    Raises:
        UserError: the channels cannot be shared out evenly to the levels.
    """

    def __init__(
        self,
        scale: int = 4,
        n_blocks: int = 8,
        n_feats: int = 36,
        hidden_feats: int = 72,
        n_levels: int = 4,
        value_range: float = 1.0,
    ) -> None:
        super().__init__(scale, mean_shift=False, value_range=value_range)
        if n_feats % n_levels or n_levels > _MOST_LEVELS:
            raise UserError(
                f"SAFMN gives each of up to {_MOST_LEVELS} levels as many channels; {n_feats} "
                f"cannot be shared out to {n_levels}."
            )
        self.to_feat = conv3x3(3, n_feats)
        self.feats = nn.Sequential(
            *(MixingBlock(n_feats, hidden_feats, n_levels) for _ in range(n_blocks))
        )
        self.to_img = nn.Sequential(conv3x3(n_feats, 3 * scale**2), nn.PixelShuffle(scale))
        self.size_multiple = 2 ** (n_levels - 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] in 0..value_range to [N, 3, H*scale, W*scale]."""
        x = self.to_feat(x)
        return self.to_img(x + self.feats(x))

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return {**super().facts(), "size_multiple": self.size_multiple}

    @property
    def receptive_field(self) -> int:
        """A pixel sees the cell that it is pooled in, those beside it, and one pixel more."""
        reach = 2 * self.size_multiple - 1 + 1
        return 2 * (2 + len(self.feats) * reach) + 1
