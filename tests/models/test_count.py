"""Sizes against the published tables (MACs for a 1280x720 output)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from srdeploy.models.count import count, macs_by_layer, macs_by_module
from srdeploy.models.registry import create
from tests.pruning.helpers import user_network


@pytest.mark.parametrize(
    ("arch", "config", "params_k", "gmacs"),
    [
        ("vdsr", {}, 664.704, 612.6),
        ("edsr-baseline", {"scale": 2}, 1369.9, 316.3),
        ("edsr-baseline", {"scale": 3}, 1555, 160),
        ("edsr-baseline", {"scale": 4}, 1518, 114),
        ("ledsr-256", {"scale": 2}, 19.5e3, 4492.5),
        ("ledsr", {"n_feats": 45, "scale": 2}, 609, 139.9),
        ("ledsr", {"n_feats": 45, "scale": 3}, 615, 62.7),
        ("ledsr", {"n_feats": 45, "scale": 4}, 623, 35.8),
        ("ledsr", {"n_feats": 48, "scale": 2}, 692, 159.1),
        ("ledsr", {"n_feats": 48, "scale": 3}, 698, 71.2),
        ("ledsr", {"n_feats": 48, "scale": 4}, 708, 40.6),
        ("rirsr-96", {"scale": 2}, 34.5e3, None),
    ],
)
def test_published_sizes(arch, config, params_k, gmacs):
    counts = count(create(arch, **config))
    # The tables round or truncate to the last digit they print.
    digit = 0.1 if round(params_k % 1, 3) else 1 if params_k < 5000 else 100
    assert counts.params / 1e3 == pytest.approx(params_k, abs=digit)
    if gmacs is not None:
        assert counts.macs_720p / 1e9 == pytest.approx(gmacs, abs=0.1 if gmacs % 1 else 0.5)


class Scaled(nn.Module):
    """A part with a parameter of its own around a layer, and a product of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.layer = nn.Parameter(torch.ones(1)), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x.flatten(2).mT)
        return (y @ (y.mT @ y) * self.scale).mT.reshape(x.shape)


def test_what_a_layer_inside_computes_is_counted_once() -> None:
    network = user_network(lambda: nn.Sequential(Scaled(), nn.Conv2d(3, 3, 1)))
    pixels = 4 * 5
    assert macs_by_layer(network, 4, 5) == {
        "0": 2 * 9 * pixels, "0.layer": 9 * pixels, "1": 9 * pixels, "": 0,
    }  # fmt: skip


class Wanting(nn.Module):
    """Code that the meta device cannot run: a tensor of its own beside, or values that count."""

    def __init__(self, reads: bool) -> None:
        super().__init__()
        self.reads, self.conv = reads, nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * torch.arange(x.shape[-1])
        return self.conv(x * 2 if self.reads and x.mean() > 3 else x)


@pytest.mark.parametrize("reads", [False, True])
def test_code_that_wants_numbers_is_counted(reads: bool) -> None:
    network = user_network(lambda: Wanting(reads))
    assert macs_by_layer(network, 6, 8) == {"conv": 81 * 48, "": 0}
    assert network.module.conv.weight.device.type == "cpu"


class Elsewhere(nn.Module):
    """Layers are called by others than those that they belong to."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Sequential(nn.Conv2d(4, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a[0](x)
        return self.b(y) + (y.flatten(2) @ y.flatten(2).mT).sum()


def test_what_is_called_from_elsewhere_is_counted_once() -> None:
    counted = macs_by_module(user_network(Elsewhere), 2, 5)
    assert counted == {"": 4 * 4 * 10, "a": 0, "a.0": 120, "b": 0, "b.0": 120}
