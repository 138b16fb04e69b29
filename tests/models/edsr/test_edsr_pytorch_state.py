"""The tensors that EDSR-PyTorch gets: their type and order."""

from __future__ import annotations

import pytest
import torch

from srdeploy.models.edsr import edsr_pytorch
from srdeploy.models.network import Network
from srdeploy.models.registry import create


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


def test_edsr_pytorch_takes_float32_in_its_order(edsr: Network) -> None:
    edsr.module.double()
    state = edsr_pytorch.edsr_pytorch_state(edsr)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert list(state)[:2] == ["sub_mean.weight", "sub_mean.bias"]
    flat = create("edsr", n_blocks=1, n_feats=4, mean_shift=False)
    state = edsr_pytorch.edsr_pytorch_state(flat)
    for name in ("sub_mean", "add_mean"):
        assert torch.equal(state[f"{name}.weight"][..., 0, 0], torch.eye(3))
        assert not state[f"{name}.bias"].any()
