"""Gamma is the norm of each filter, whichever dimension filters lie along."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.models import (
    weight_norm,
)


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 5, 2), nn.ConvTranspose2d(3, 5, 2)])
def test_gamma_is_the_norm_of_each_filter(layer: Any) -> None:
    dim = int(isinstance(layer, nn.ConvTranspose2d))
    net = nn.Sequential(layer)
    weight = layer.weight.detach().clone()
    weight_norm.attach_weight_norm(net, [("0", dim)])
    gamma = weight_norm.gamma_of(net, "0")
    norms = weight.transpose(0, dim).flatten(1).norm(dim=1)
    torch.testing.assert_close(gamma.flatten(), norms)
    assert gamma.shape[dim] == 5 == gamma.numel()
    with torch.no_grad():
        gamma *= 2
    torch.testing.assert_close(net[0].weight, 2 * weight)
    weight_norm.merge_weight_norm(net)
    torch.testing.assert_close(net[0].weight.detach(), 2 * weight)
    assert type(net[0]) in (nn.Conv2d, nn.ConvTranspose2d)
