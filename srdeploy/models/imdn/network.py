"""IMDN: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation
Network", ACM MM 2019.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.attention import ContrastAttention
from srdeploy.models.distillation import SLOPE, DistillationNetwork
from srdeploy.models.layers import ChannelSplit, conv3x3


class DistillationBlock(nn.Module):
    """Four convolutions, each on what the one before did not keep, then attention (section 3.2)."""

    def __init__(self, n_feats: int, n_distilled: int, reduction: int) -> None:
        super().__init__()
        rest = n_feats - n_distilled
        self.c1 = conv3x3(n_feats, n_feats)
        self.c2 = conv3x3(rest, n_feats)
        self.c3 = conv3x3(rest, n_feats)
        self.c4 = conv3x3(rest, n_distilled)
        self.c5 = nn.Conv2d(4 * n_distilled, n_feats, 1)
        self.cca = ContrastAttention(4 * n_distilled, reduction)
        self.split = ChannelSplit()

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        kept: list[Tensor] = []
        rest = x
        for layer, reader in ((self.c1, self.c2), (self.c2, self.c3), (self.c3, self.c4)):
            y = functional.leaky_relu(layer(rest), SLOPE)
            part, rest = self.split(y, layer.out_channels - reader.in_channels)
            kept.append(part)
        kept.append(self.c4(rest))
        return x + self.c5(self.cca(torch.cat(kept, 1)))


class IMDN(DistillationNetwork):
    """Blocks of multi-distillation, whose outputs are fused.

    Args:
        scale: 2, 3 or 4 (or 8).
        n_blocks: Blocks (6).
        n_feats: Channels (64).
        n_distilled: How many of them each layer of a block keeps (16).
        reduction: How many times narrower the attention is inside (16).
        value_range: Pixel values run from 0 to this.

    Raises:
        UserError: more channels are kept than there are.
    """

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 6,
        n_feats: int = 64,
        n_distilled: int = 16,
        reduction: int = 16,
        value_range: float = 1.0,
    ) -> None:
        if n_distilled >= n_feats:
            raise UserError(
                f"IMDN cannot keep {n_distilled} of {n_feats} channels and hand on others; choose "
                f"n_distilled below n_feats."
            )
        blocks = (DistillationBlock(n_feats, n_distilled, reduction) for _ in range(n_blocks))
        super().__init__(scale, n_feats, blocks, "IMDB", fused=True, value_range=value_range)
        self.pooled_field = 2 * (4 * n_blocks + 3) + 1
