"""Attention that several networks have, under the names that their published weights use."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ChannelAttention(nn.Module):
    """Squeeze and excitation (Hu et al., CVPR 2018), as in RCAN (Zhang et al., ECCV 2018, eq. 8).

    Args:
        n_feats: Channels.
        reduction: How many times narrower the layer between the two convolutions is.
    """

    def __init__(self, n_feats: int, reduction: int) -> None:
        super().__init__()
        narrow = max(n_feats // reduction, 1)
        self.conv_du = nn.Sequential(
            nn.Conv2d(n_feats, narrow, 1), nn.ReLU(), nn.Conv2d(narrow, n_feats, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        return x * self.conv_du(self.squeeze(x))

    def squeeze(self, x: Tensor) -> Tensor:
        """What is known of each channel, ``[N, C, 1, 1]``: its mean."""
        return x.mean((2, 3), keepdim=True)


class ContrastAttention(ChannelAttention):
    """Contrast-aware channel attention of IMDN (Hui et al., ACM MM 2019, section 3.3)."""

    def squeeze(self, x: Tensor) -> Tensor:
        """What is known of each channel, ``[N, C, 1, 1]``: its standard deviation plus its mean."""
        # Unlike a square root, this has a gradient where a channel is constant.
        return x.std((2, 3), correction=0, keepdim=True) + super().squeeze(x)


class SpatialAttention(nn.Module):
    """Enhanced spatial attention, ESA (Liu et al., "Residual Feature Aggregation Network", CVPR
    2020, section 3.3).

    A few channels are seen on a coarse grid of one point to six pixels, and laid over the image by
    bilinear interpolation. The grid has as many points as fit into the image, so that it is another
    one for another size.

    Args:
        n_feats: Channels.
        esa_feats: Channels inside.
        deep: Three convolutions on the coarse grid (RFDN); without, one (RLFN).
    """

    SMALLEST = 15
    """Height and width of an image on which the grid has one point."""

    def __init__(self, n_feats: int, esa_feats: int, deep: bool) -> None:
        super().__init__()
        self.deep = deep
        self.conv1 = nn.Conv2d(n_feats, esa_feats, 1)
        self.conv_f = nn.Conv2d(esa_feats, esa_feats, 1)
        self.conv2 = nn.Conv2d(esa_feats, esa_feats, 3, stride=2)
        self.conv3 = nn.Conv2d(esa_feats, esa_feats, 3, padding=1)
        if deep:
            self.conv_max = nn.Conv2d(esa_feats, esa_feats, 3, padding=1)
            self.conv3_ = nn.Conv2d(esa_feats, esa_feats, 3, padding=1)
        self.conv4 = nn.Conv2d(esa_feats, n_feats, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same; H and W at least :attr:`SMALLEST`."""
        narrow = self.conv1(x)
        y = functional.max_pool2d(self.conv2(narrow), 7, stride=3)
        if self.deep:
            y = torch.relu(self.conv3(torch.relu(self.conv_max(y))))
            y = self.conv3_(y)
        else:
            y = self.conv3(y)
        size = (x.shape[2], x.shape[3])
        y = functional.interpolate(y, size=size, mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(y + self.conv_f(narrow)))
