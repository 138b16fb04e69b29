"""RRDBNet: Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks",
ECCVW 2018, section 3.1. With its input rearranged by a pixel unshuffle, it is the network of
Real-ESRGAN (Wang et al., ICCVW 2021) for x2 and x1. With the additional residuals it is that of
ESRGAN+ (Rakotonirina and Rasoanaivo, ICASSP 2020).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from srdeploy.models.layers import conv3x3, image_facts

_SLOPE = 0.2  # of the leaky ReLUs
_RESIDUAL = 0.2  # residual scaling, the paper's beta
_CONVS = 5  # in a dense block


class DenseBlock(nn.Module):
    """Five convolutions, each of which reads the input and all results before it.

    Args:
        n_feats: Channels of input and output.
        growth: Channels of each result but the last.
        plus: Add the residuals of ESRGAN+: a 1x1 convolution of the input to the second result,
            and the second result to the fourth.
    """

    def __init__(self, n_feats: int, growth: int, plus: bool) -> None:
        super().__init__()
        for i in range(_CONVS):
            n_out = n_feats if i == _CONVS - 1 else growth
            self.add_module(f"conv{i + 1}", conv3x3(n_feats + i * growth, n_out))
        self.conv1x1 = nn.Conv2d(n_feats, growth, 1, bias=False) if plus else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, n_feats, H, W] to the same."""
        known = [x]
        for i in range(1, _CONVS):
            y = self.get_submodule(f"conv{i}")(torch.cat(known, 1) if i > 1 else x)
            y = functional.leaky_relu(y, _SLOPE, inplace=True)
            if self.conv1x1 is not None and i == 2:
                y = y + self.conv1x1(x)
            elif self.conv1x1 is not None and i == 4:
                y = y + known[2]
            known.append(y)
        y = self.get_submodule(f"conv{_CONVS}")(torch.cat(known, 1))
        return x + y * _RESIDUAL


class RRDB(nn.Module):
    """Residual in residual dense block: three dense blocks in a scaled residual."""

    def __init__(self, n_feats: int, growth: int, plus: bool) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(n_feats, growth, plus)
        self.rdb2 = DenseBlock(n_feats, growth, plus)
        self.rdb3 = DenseBlock(n_feats, growth, plus)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, n_feats, H, W] to the same."""
        return x + self.rdb3(self.rdb2(self.rdb1(x))) * _RESIDUAL


class RRDBNet(nn.Module):
    """Residual in residual dense blocks in a long skip, then nearest-neighbour upsampling.

    Args:
        scale: 1, 2, 4, 8 or 16.
        n_blocks: Residual in residual dense blocks (23).
        n_feats: Channels between the blocks (64).
        growth: Channels that each convolution of a dense block adds (32).
        unshuffle: Pixel unshuffle of the input: 2 in Real-ESRGAN x2, 4 in Real-ESRGAN x1. The
            network then doubles the resolution ``log2(scale * unshuffle)`` times.
        channels: Of the image.
        plus: The dense blocks have the residuals of ESRGAN+.
    """

    def __init__(
        self,
        scale: int = 4,
        n_blocks: int = 23,
        n_feats: int = 64,
        growth: int = 32,
        unshuffle: int = 1,
        channels: int = 3,
        plus: bool = False,
    ) -> None:
        super().__init__()
        self.scale, self.unshuffle, self.channels = scale, unshuffle, channels
        self.conv_first = conv3x3(channels * unshuffle**2, n_feats)
        self.body = nn.Sequential(*[RRDB(n_feats, growth, plus) for _ in range(n_blocks)])
        self.conv_body = conv3x3(n_feats, n_feats)
        self.doublings = round(math.log2(scale * unshuffle))
        for i in range(self.doublings):
            self.add_module(f"conv_up{i + 1}", conv3x3(n_feats, n_feats))
        self.conv_hr = conv3x3(n_feats, n_feats)
        self.conv_last = conv3x3(n_feats, channels)
        for weight in self.body.parameters():  # "smaller initialization", section 3.1
            if not weight.is_meta:
                weight.data.mul_(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, channels, H, W] in 0..1 to [N, channels, H*scale, W*scale]."""
        if self.unshuffle > 1:
            x = functional.pixel_unshuffle(x, self.unshuffle)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        for i in range(self.doublings):
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = self.get_submodule(f"conv_up{i + 1}")(x)
            x = functional.leaky_relu(x, _SLOPE, inplace=True)
        x = functional.leaky_relu(self.conv_hr(x), _SLOPE, inplace=True)
        return self.conv_last(x)

    def facts(self) -> dict[str, Any]:
        """What the card says of this network."""
        return {**image_facts(self, self.receptive_field), "size_multiple": self.unshuffle}

    @property
    def receptive_field(self) -> int:
        """Twice the reach, and the pixel itself.

        The last two convolutions and those after each doubling reach two pixels of the grid before
        the first doubling, and only one on the side where an unshuffled pixel is near the next.
        """
        reach = 2
        for _ in range(self.doublings):
            reach = math.ceil((reach + 1) / 2)
        reach += 2 + 3 * _CONVS * len(self.body)
        return 2 * reach * self.unshuffle + 1
