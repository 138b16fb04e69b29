"""RCAN: Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
ECCV 2018.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from srdeploy.models.attention import ChannelAttention
from srdeploy.models.layers import (
    UPSAMPLER_RADIUS,
    ResidualBlock,
    SkipNetwork,
    conv3x3,
    upsampler,
)
from srdeploy.models.rirsr.network import ResidualGroup


class AttentionBlock(ResidualBlock):
    """A residual block whose branch ends in channel attention (RCAB, eq. 9)."""

    def __init__(self, n_feats: int, reduction: int, res_scale: float) -> None:
        super().__init__(n_feats, res_scale)
        self.body.append(ChannelAttention(n_feats, reduction))


class RCAN(SkipNetwork):
    """Residual groups of blocks with channel attention in a long skip.

    Args:
        scale: 2, 3 or 4 (or 8; with ``unshuffle`` also 1).
        n_groups: Residual groups (10).
        n_blocks: Blocks in each (20).
        n_feats: Channels (64).
        reduction: How many times narrower the attention is inside (16).
        unshuffle: Pixel unshuffle of the input, as some trainers have for x1 and x2. The upsampler
            is then larger by this factor: of x4.
        res_scale: Factor on each block's branch.
        mean_shift: Subtract the DIV2K mean at the input and add it back at the output.
        value_range: Pixel values run from 0 to this.
    """

    def __init__(
        self,
        scale: int = 2,
        n_groups: int = 10,
        n_blocks: int = 20,
        n_feats: int = 64,
        reduction: int = 16,
        unshuffle: int = 1,
        res_scale: float = 1.0,
        mean_shift: bool = True,
        value_range: float = 255.0,
    ) -> None:
        super().__init__(scale, n_feats, mean_shift, value_range)
        self.unshuffle = unshuffle
        if unshuffle > 1:
            first = conv3x3(3 * unshuffle**2, n_feats)
            self.head = nn.Sequential(nn.PixelUnshuffle(unshuffle), first)
        groups: list[nn.Module] = [
            ResidualGroup(
                n_feats, (AttentionBlock(n_feats, reduction, res_scale) for _ in range(n_blocks))
            )
            for _ in range(n_groups)
        ]
        self.body = nn.Sequential(*groups, conv3x3(n_feats, n_feats))
        self.tail = nn.Sequential(upsampler(scale * unshuffle, n_feats), conv3x3(n_feats, 3))
        reach = 2 + n_groups * (2 * n_blocks + 1) + UPSAMPLER_RADIUS
        self.radius = unshuffle * (reach + 1) - 1

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return {**super().facts(), "size_multiple": self.unshuffle}

    @property
    def receptive_field(self) -> int:
        """0: channel attention sees the whole image."""
        return 0

    @property
    def pooled_field(self) -> int:
        """What it would be if the attention's means were given."""
        return super().receptive_field
