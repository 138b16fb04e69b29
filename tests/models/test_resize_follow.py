"""A layer's numbers follow its tensors, in every kind of layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models import (
    resize,
)
from srdeploy.models.network import Network
from srdeploy.models.registry import create


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


@pytest.mark.parametrize(
    ("layer", "weight", "numbers"),
    [
        (nn.Conv2d(8, 16, 3, groups=8), (2, 1, 3, 3), (1, 2, 1)),
        (nn.Conv2d(8, 16, 3, groups=8), (1, 1, 3, 3), (1, 1, 1)),
        (nn.Conv2d(8, 8, 3), (5, 7, 3, 3), (7, 5, 1)),
        (nn.Conv2d(1, 8, 3), (5, 1, 3, 3), (1, 5, 1)),
        (nn.ConvTranspose2d(6, 6, 3, groups=6), (1, 1, 3, 3), (1, 1, 1)),
        (nn.ConvTranspose2d(6, 8, 3), (5, 7, 3, 3), (5, 7, 1)),
    ],
)
def test_a_layer_follows_its_tensor(layer: Any, weight: Any, numbers: tuple[int, ...]) -> None:
    layer.weight = nn.Parameter(torch.zeros(weight))
    resize.follow_shapes(layer)
    assert (layer.in_channels, layer.out_channels, layer.groups) == numbers


def test_groups_of_a_norm_stay_as_large_as_they_are() -> None:
    for groups, channels, kept in ((8, 5, 5), (4, 6, 3), (2, 4, 1), (1, 8, 1)):
        layer = nn.GroupNorm(groups, 8)
        layer.weight = nn.Parameter(torch.zeros(channels))
        resize.follow_shapes(layer)
        assert (layer.num_groups, layer.num_channels) == (kept, channels)
    resize.follow_shapes(nn.GroupNorm(2, 8, affine=False))
    resize.follow_shapes(nn.BatchNorm2d(8, affine=False, track_running_stats=False))


@pytest.mark.parametrize("shape", [[0, 3, 3, 3], [4, 3, 3], [4, 3, 3, -1]])
def test_shapes_that_cannot_be(shape: list[int], edsr: Network) -> None:
    with pytest.raises(UserError, match="the impossible shape"):
        resize.resize(edsr.module, {"head.0.weight": shape})
