"""Which layer was running when something failed."""

from __future__ import annotations

import pytest
import torch

from srdeploy.models import (
    module_path,
)
from srdeploy.models.network import Network
from srdeploy.models.registry import create


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


def test_the_place_of_a_failure_is_the_innermost_layer(edsr: Network) -> None:
    here = module_path.ModulePath()
    assert str(here) == "the network's own forward"
    with pytest.raises(RuntimeError), here.following(edsr.module):
        edsr.module(torch.zeros(1, 5, 8, 8))
    assert str(here) == "'sub_mean'"
    with here.following(edsr.module):
        edsr.module(torch.zeros(1, 3, 8, 8))
    assert str(here) == "the network's own forward"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in edsr.module.modules())
