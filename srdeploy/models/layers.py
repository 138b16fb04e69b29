"""Building blocks shared by the EDSR family, under the names its published weights use."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

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
        assert self.bias is not None
        if not self.weight.is_meta:  # which has no values, and would import torch's compiler
            with torch.no_grad():
                nn.init.dirac_(self.weight)
                self.bias.copy_(sign * value_range * torch.tensor(mean))
        self.requires_grad_(False)


def nearest(x: torch.Tensor, scale: int) -> torch.Tensor:
    """The nearest-neighbour image, ``[N, C, H, W]`` to ``[N, C, H*scale, W*scale]``."""
    return x if scale == 1 else functional.interpolate(x, scale_factor=scale, mode="nearest")


class NearestAnchor(nn.Module):
    """The image, each channel repeated ``scale^2`` times: nearest neighbour before a PixelShuffle.

    It is a 1x1 convolution because published weights store it as one.

    Args:
        channels: Of the image.
        scale: Of the PixelShuffle.
        trains: Whether its weights are parameters that train.
    """

    def __init__(self, channels: int, scale: int, trains: bool = False) -> None:
        super().__init__()
        self.net = nn.Conv2d(channels, channels * scale**2, 1)
        assert self.net.bias is not None
        if not self.net.weight.is_meta:
            with torch.no_grad():
                repeated = torch.eye(channels).repeat_interleave(scale**2, 0)
                self.net.weight.copy_(repeated[:, :, None, None])
                self.net.bias.zero_()
        self.requires_grad_(trains)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] to [N, channels*scale^2, H, W]."""
        return self.net(x)


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


class ChannelSplit(nn.Module):
    """Splits channels at a position that follows the widths of layers.

    Whoever calls it computes the position from the widths of the layers around it. Pruning may then
    remove channels on both sides; of a split at a fixed position it removes none.
    """

    def forward(self, x: torch.Tensor, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        """``[N, C, H, W]`` to the channels before the position, and to the others."""
        return x[:, :position], x[:, position:]


def image_facts(network: Any, receptive_field: int, value_range: float = 1.0) -> dict[str, Any]:
    """What the card says of a network of one scale, for images of any number of channels.

    Args:
        network: A module with its ``scale``, and the ``channels`` of its images.
        receptive_field: Side, in input pixels, of what an output pixel depends on; 0: all.
        value_range: Pixel values run from 0 to this.
    """
    return {
        "scale": network.scale,
        "scales": (network.scale,),
        "channels": network.channels,
        "value_range": value_range,
        "luma_only": network.channels == 1,
        "receptive_field": receptive_field,
    }


class ColourNetwork(nn.Module):
    """The frame of networks that upscale RGB images: factor, value range, mean shift.

    Args:
        scale: Upscaling factor.
        mean_shift: Subtract the DIV2K mean at the input and add it back at the output.
        value_range: Pixel values run from 0 to this.
    """

    def __init__(self, scale: int, mean_shift: bool, value_range: float) -> None:
        super().__init__()
        self.scale = scale
        self.value_range = value_range
        self.mean = DIV2K_MEAN if mean_shift else None
        if self.mean is not None:
            self.sub_mean = MeanShift(value_range, self.mean, sign=-1)
            self.add_mean = MeanShift(value_range, self.mean, sign=1)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return {
            "scale": self.scale,
            "scales": (self.scale,),
            "channels": 3,
            "value_range": self.value_range,
            "mean_shift": self.mean,
            "receptive_field": self.receptive_field,
        }

    @property
    def receptive_field(self) -> int:
        """Side, in input pixels, of what an output pixel depends on; 0 for the whole image."""
        raise NotImplementedError


class SkipNetwork(ColourNetwork):
    """The frame of EDSR and its relatives: mean shift, head, body inside a long skip, tail.

    A subclass adds ``body``, ``tail`` and ``radius``, its reach in input pixels.

    Args:
        scale: Upscaling factor.
        n_feats: Channels of the head.
        mean_shift: Subtract the DIV2K mean at the input and add it back at the output.
        value_range: Pixel values run from 0 to this.
    """

    body: nn.Sequential
    tail: nn.Sequential
    radius: int

    def __init__(self, scale: int, n_feats: int, mean_shift: bool, value_range: float) -> None:
        super().__init__(scale, mean_shift, value_range)
        self.head = nn.Sequential(conv3x3(3, n_feats))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, 3, H, W] in 0..value_range to [N, 3, H*scale, W*scale]."""
        if self.mean is not None:
            x = self.sub_mean(x)
        x = self.head(x)
        x = self.tail(x + self.body(x))
        return x if self.mean is None else self.add_mean(x)

    @property
    def receptive_field(self) -> int:
        """Twice the reach, and the pixel itself."""
        return 2 * self.radius + 1
