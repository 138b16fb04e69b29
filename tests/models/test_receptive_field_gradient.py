"""The receptive field on the card, by gradient: what an output pixel depends on, and how far."""

from __future__ import annotations

import pytest
import torch

from srdeploy.compacting.run import prune_oneshot
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions

SMALL = {
    "edsr": {"n_blocks": 2, "n_feats": 8},
    "ledsr": {"n_blocks": 2, "n_feats": 8},
    "rirsr": {"n_groups": 2, "n_blocks": 1, "n_feats": 8},
    "vdsr": {"n_layers": 5, "n_feats": 8},
}


def _reach(network: Network) -> int:
    """How many input pixels to a side the output pixels over one input pixel depend on."""
    radius, factor = network.card.receptive_field // 2, network.card.network_scale
    middle = radius + 4
    side = 2 * middle + 1
    module = network.module.double()  # in float32 the outermost gradients may round to nothing
    # Above the mean that is subtracted: with positive weights no ReLU is then dead.
    x = 200 + torch.rand(1, network.card.channels, side, side, dtype=torch.double)
    x.requires_grad_()
    block = slice(middle * factor, (middle + 1) * factor)
    module(x)[..., block, block].abs().sum().backward()
    assert x.grad is not None
    touched = x.grad[0].abs().sum(0)
    places = [torch.nonzero(touched.sum(axis)).flatten() - middle for axis in (0, 1)]
    return int(max(place.abs().max() for place in places))


@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("arch", SMALL)
def test_receptive_field_by_gradient(arch: str, scale: int, pruned: bool) -> None:
    torch.manual_seed(0)
    network = create(arch, scale=scale, **SMALL[arch])
    if pruned:
        network, _ = prune_oneshot(network, PruneOptions(ratio=0.4))
    with torch.no_grad():  # dead ReLUs pass no gradient
        for parameter in network.module.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.abs() * 0.1 + 0.01)
    assert _reach(network) == network.card.receptive_field // 2
