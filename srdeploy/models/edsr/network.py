"""EDSR and its lite-tailed sibling.

EDSR: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017.
LEDSR: the same body with one convolution and a PixelShuffle as its tail, the base network of
SRPN-Lite (SRP, ICLR 2022) and ASSLN (ASSL, NeurIPS 2021), and of the MLPerf Mobile benchmark.
"""

from __future__ import annotations

from torch import nn

from srdeploy.models.layers import (
    UPSAMPLER_RADIUS,
    ResidualBlock,
    SkipNetwork,
    conv3x3,
    upsampler,
)


class EDSR(SkipNetwork):
    """Residual blocks in a long skip, then the upsampler and a convolution.

    Args:
        scale: 2, 3 or 4 (or 8).
        n_blocks: Residual blocks (baseline 16, full 32).
        n_feats: Channels (baseline 64, full 256).
        res_scale: Factor on each block's branch (full: 0.1).
        mean_shift: Subtract the DIV2K mean at the input and add it back at the output.
        value_range: Pixel values run from 0 to this.
    """

    lite_tail = False

    def __init__(
        self,
        scale: int = 2,
        n_blocks: int = 16,
        n_feats: int = 64,
        res_scale: float = 1.0,
        mean_shift: bool = True,
        value_range: float = 255.0,
    ) -> None:
        super().__init__(scale, n_feats, mean_shift, value_range)
        blocks: list[nn.Module] = [ResidualBlock(n_feats, res_scale) for _ in range(n_blocks)]
        self.body = nn.Sequential(*blocks, conv3x3(n_feats, n_feats))
        if self.lite_tail:
            self.tail = nn.Sequential(conv3x3(n_feats, 3 * scale**2), nn.PixelShuffle(scale))
        else:
            self.tail = nn.Sequential(upsampler(scale, n_feats), conv3x3(n_feats, 3))
        self.radius = 2 + 2 * n_blocks + (1 if self.lite_tail else UPSAMPLER_RADIUS)


class LEDSR(EDSR):
    """EDSR with the lite tail: conv to 3*scale^2 channels, then PixelShuffle."""

    lite_tail = True
