"""Building blocks shared by the EDSR family, under the names its published weights use."""

from __future__ import annotations

import torch
from torch import nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean RGB of the DIV2K training set (0..1), as EDSR-PyTorch and its descendants subtract it."""


def conv3x3(n_in: int, n_out: int, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution that keeps the image size."""
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=bias)


class MeanShift(nn.Conv2d):
    """Adds ``sign * value_range * mean`` to each colour: a frozen 1x1 convolution.

    It is a convolution only because the published weights store it as one. Its parameters never
    train and are not counted.
    """

    def __init__(self, value_range: float, mean: tuple[float, ...], sign: int) -> None:
        super().__init__(len(mean), len(mean), 1)
        with torch.no_grad():
            self.weight.copy_(torch.eye(len(mean))[:, :, None, None])
            assert self.bias is not None
            self.bias.copy_(sign * value_range * torch.tensor(mean))
        self.requires_grad_(False)


class ResidualBlock(nn.Module):
    """conv-ReLU-conv, times ``res_scale``, plus the input (EDSR, section 3.1)."""

    def __init__(self, n_feats: int, res_scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(n_feats, n_feats), nn.ReLU(inplace=True), conv3x3(n_feats, n_feats)
        )
        self.res_scale = res_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, n_feats, H, W] to the same."""
        y = self.body(x)
        if self.res_scale != 1.0:
            y = y * self.res_scale
        return x + y


def upsampler(scale: int, n_feats: int) -> nn.Sequential:
    """Conv + PixelShuffle: one stage for x2 and x3, stages of x2 for powers of two."""
    factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    stages: list[nn.Module] = []
    for factor in factors:
        stages += [conv3x3(n_feats, n_feats * factor**2), nn.PixelShuffle(factor)]
    return nn.Sequential(*stages)


UPSAMPLER_RADIUS = 2
"""Reach in LR pixels of the EDSR tail: one for the first upsampling convolution, and one for all
that follows on finer grids (two steps of a grid twice as fine are one LR pixel)."""
