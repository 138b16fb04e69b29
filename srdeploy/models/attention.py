"""Attention that several networks have, under the names that their published weights use."""

from __future__ import annotations

from torch import Tensor, nn


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
