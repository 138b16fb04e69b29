from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.models.weight_norm import (
    attach_weight_norm,
    gamma_name,
    gamma_of,
    merge_weight_norm,
)


def two_layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ConvTranspose2d(5, 4, 2, bias=False))


LAYERS = [("0", 0), ("1", 1)]


def test_gamma_starts_at_the_filters_norms_and_changes_no_weight() -> None:
    module = two_layers()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    attach_weight_norm(module, LAYERS)
    norms = before["0.weight"].flatten(1).norm(dim=1)
    assert torch.equal(gamma_of(module, "0").flatten(), norms)
    assert gamma_of(module, "0").shape == (5, 1, 1, 1)
    assert gamma_of(module, "1").shape == (1, 4, 1, 1)
    torch.testing.assert_close(module[0].weight, before["0.weight"], rtol=1e-6, atol=0)
    torch.testing.assert_close(module[1].weight, before["1.weight"], rtol=1e-6, atol=0)


def test_the_weight_is_gamma_times_the_direction() -> None:
    module = two_layers()
    attach_weight_norm(module, LAYERS)
    with torch.no_grad():
        gamma_of(module, "0").copy_(torch.arange(5.0).view(5, 1, 1, 1))
    norms = module[0].weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.arange(5.0))


def test_merging_is_exact_to_the_bit_and_leaves_an_ordinary_network() -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    module, plain = network.module, copy.deepcopy(network.module)
    attach_weight_norm(module, [("head.0", 0), ("body.0.body.0", 0)])
    x = torch.rand(1, 3, 7, 6) * 255
    with torch.no_grad():
        for name in ("head.0", "body.0.body.0"):
            gamma_of(module, name).mul_(torch.rand(4, 1, 1, 1))
        normalised = module(x)
        merge_weight_norm(module)
        assert torch.equal(module(x), normalised)
    assert list(module.state_dict()) == list(plain.state_dict())
    assert [type(m) for m in module.modules()] == [type(m) for m in plain.modules()]
    assert {n for n, p in module.named_parameters() if p.requires_grad} == {
        n for n, p in plain.named_parameters() if p.requires_grad
    }


def test_merging_a_copy_leaves_the_original_normalised() -> None:
    module = two_layers()
    attach_weight_norm(module, LAYERS)
    x = torch.rand(1, 3, 5, 5)
    wanted = module(x)
    merge_weight_norm(copy.deepcopy(module))
    assert torch.equal(module(x), wanted)
    assert gamma_name("0") in module.state_dict()


def test_a_filter_of_zeros_stays_zero_and_has_a_finite_gradient() -> None:
    module = two_layers()
    with torch.no_grad():
        module[0].weight[2] = 0
    attach_weight_norm(module, LAYERS)
    module(torch.rand(1, 3, 5, 5)).sum().backward()
    assert torch.equal(module[0].weight[2], torch.zeros(3, 3, 3))
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_a_layer_with_a_parametrisation_of_its_own_is_refused() -> None:
    module = two_layers()
    parametrizations.weight_norm(module[0])
    with pytest.raises(UserError, match="'0' is parametrised already"):
        attach_weight_norm(module, LAYERS)
