from __future__ import annotations

import numpy as np
import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.torch_session import TorchSession


def test_agrees_with_the_module() -> None:
    network = create("edsr", scale=3, n_blocks=2, n_feats=8)
    x = np.random.default_rng(0).uniform(0, 255, (2, 3, 9, 7)).astype(np.float32)
    with torch.no_grad():
        expected = network.module(torch.from_numpy(x)).numpy()
    with TorchSession(network.copy()) as session:
        out = session.run(x)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, expected, atol=1e-3)


def test_threads_are_lent_for_the_run_only() -> None:
    network = create("vdsr", n_layers=3, n_feats=4)
    seen = []
    network.module.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    TorchSession(network, threads=before + 1).run(np.zeros((1, 1, 8, 8), np.float32))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_dropout_and_batch_norm_are_off() -> None:
    network = create("vdsr", n_layers=3, n_feats=4)
    network.module.add_module("extra", torch.nn.Dropout())
    network.module.train()
    session = TorchSession(network)
    assert not any(module.training for module in network.module.modules())
    session.close()


class InPlace(torch.nn.Module):
    """Writes into what it is given, as published networks do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert min(x.shape[2:]) > 4, "too small for me"
        x *= 2.0
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_callers_array_stays_as_it_is(channels: int) -> None:
    card = Card(arch="a:b", scale=2, scales=(2,), channels=channels, value_range=1.0)
    x = np.random.default_rng(0).random((1, channels, 8, 9), np.float32)
    kept = x.copy()
    with TorchSession(Network(InPlace(), card)) as session:
        first, second = session.run(x), session.run(x)
    np.testing.assert_array_equal(x, kept)
    np.testing.assert_array_equal(first, second)


def test_an_image_too_small_for_the_network_is_one_sentence() -> None:
    card = Card(arch="a:b", scale=2, scales=(2,), channels=3, value_range=1.0)
    with (
        TorchSession(Network(InPlace(), card)) as session,
        pytest.raises(UserError, match=r"image of shape \[1, 3, 4, 9\].*too small for me"),
    ):
        session.run(np.zeros((1, 3, 4, 9), np.float32))


class Viewed(torch.nn.Module):
    """Its `view` is legal for tensors in torch's usual order of memory only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        rows = y.view(len(y), -1)
        return torch.nn.functional.pixel_shuffle((rows + 1).view(y.shape), 2)


def test_code_that_wants_the_usual_order_of_memory_gets_it() -> None:
    module = Viewed()
    x = torch.rand(2, 3, 9, 7)
    with torch.no_grad():
        wanted = module(x).numpy()
    card = Card(arch="tests:viewed", scale=2, scales=(2,), channels=3, value_range=1.0)
    with TorchSession(Network(module, card), threads=1) as session:
        for _ in range(2):
            np.testing.assert_allclose(session.run(x.numpy()), wanted, atol=1e-6)
