"""RLFN: Kong et al., "Residual Local Feature Network for Efficient Super-Resolution",
CVPRW 2022.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.attention import SpatialAttention
from srdeploy.models.distillation import SLOPE, DistillationNetwork
from srdeploy.models.layers import conv3x3


class LocalFeatureBlock(nn.Module):
    """Three convolutions in a skip, a 1x1 convolution and spatial attention (section 3.2)."""

    def __init__(self, n_feats: int, mid_feats: int, esa_feats: int) -> None:
        super().__init__()
        self.c1_r = conv3x3(n_feats, mid_feats)
        self.c2_r = conv3x3(mid_feats, mid_feats)
        self.c3_r = conv3x3(mid_feats, n_feats)
        self.c5 = nn.Conv2d(n_feats, n_feats, 1)
        self.esa = SpatialAttention(n_feats, esa_feats, deep=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to as many channels as the next block reads."""
        y = x
        for layer in (self.c1_r, self.c2_r, self.c3_r):
            y = functional.leaky_relu(layer(y), SLOPE)
        return self.esa(self.c5(y + x))


class RLFN(DistillationNetwork):
    """Blocks of local features in a long skip.

    Args:
        scale: 2, 3 or 4 (or 8).
        n_blocks: Blocks (6).
        n_feats: Channels (52).
        mid_feats: Channels inside a block (52).
        esa_feats: Channels inside the spatial attention (16).
        value_range: Pixel values run from 0 to this.
    """

    smallest = SpatialAttention.SMALLEST

    def __init__(
        self,
        scale: int = 4,
        n_blocks: int = 6,
        n_feats: int = 52,
        mid_feats: int = 52,
        esa_feats: int = 16,
        value_range: float = 255.0,
    ) -> None:
        blocks = (LocalFeatureBlock(n_feats, mid_feats, esa_feats) for _ in range(n_blocks))
        super().__init__(scale, n_feats, blocks, "B", fused=False, value_range=value_range)
