"""Rotation changes nothing that comes out, and only where nothing acts on single channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.tracing.groups import Group, Grouping, find_groups
from srdeploy.reconstruct.rotate import _basis, rotate_streams, why_not_linear
from tests.reconstruct.own import network_of


def stream(grouping: Grouping, layer: str) -> Group:
    return next(group for group in grouping.groups if layer in group.layers)


@pytest.mark.parametrize(
    ("arch", "size", "layer"),
    [
        ("edsr", {"n_blocks": 2, "n_feats": 6}, "head.0"),
        ("ledsr", {"n_blocks": 2, "n_feats": 6}, "head.0"),
        ("rirsr", {"n_groups": 2, "n_blocks": 2, "n_feats": 6}, "head.0"),
    ],
)
def test_a_rotated_network_computes_the_same(arch: str, size: dict[str, int], layer: str) -> None:
    torch.manual_seed(0)
    network = create(arch, **size)
    grouping = find_groups(network)
    group = stream(grouping, layer)
    assert why_not_linear(network, group) == ""
    x = torch.rand(2, 3, 16, 18) * network.card.value_range
    turned, record = rotate_streams(network, grouping, {group.name: 2}, x.split(1))
    assert record is not None
    assert record["streams"] == [group.name]
    assert record["claim"] == "rotated(x) == dense(x)"
    assert record["dtype"] == "float64"
    with torch.no_grad():
        wanted = network.module(x)
        torch.testing.assert_close(turned.module(x), wanted, rtol=1e-4, atol=1e-3)
    first = network.module.get_submodule(layer).weight
    assert first.dtype == torch.float32
    assert not torch.allclose(first, turned.module.get_submodule(layer).weight)
    other = rotate_streams(network, grouping, {}, x.split(1))
    assert other == (network, None)


class Spoilt(nn.Module):
    """A residual stream, with something on it."""

    value_range, scale = 1.0, 2

    def __init__(self, what: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.what = what
        self.head = nn.Conv2d(3, 6, 3, padding=1)
        self.one, self.two = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(5, 6, 3, padding=1)
        self.slopes, self.norm = nn.PReLU(6), nn.BatchNorm2d(6)
        self.depth = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.tail, self.shuffle = nn.Conv2d(6, 12, 3, padding=1), nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.head(x)
        s = s + self.two(torch.relu(self.one(s)))
        if self.what == "relu":
            s = torch.relu(s)
        elif self.what == "slopes":
            s = self.slopes(s)
        elif self.what == "norm":
            s = self.norm(s)
        elif self.what == "depth":
            s = s + self.depth(s)
        elif self.what == "gate":
            s = s * torch.sigmoid(s)
        elif self.what == "scaled":
            s = 0.3 * s
        return self.shuffle(self.tail(s))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("", ""),
        ("scaled", ""),
        ("relu", "something acts on its channels one by one"),
        ("gate", "something acts on its channels one by one"),
        ("slopes", "'slopes' acts on its channels one by one"),
        ("norm", "'norm' acts on its channels one by one"),
        ("depth", "'depth' computes in groups of channels"),
    ],
)
def test_what_acts_on_single_channels_stands_in_the_way(what: str, reason: str) -> None:
    network = network_of(Spoilt(what))
    grouping = find_groups(network)
    assert why_not_linear(network, stream(grouping, "head")) == reason
    inner = why_not_linear(network, stream(grouping, "one"))
    assert inner == "something acts on its channels one by one"


class Particular(Spoilt):
    """Wants sides that are multiples of 16, or its input in float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.what == "sides" and (x.shape[2] % 16 or x.shape[3] % 16):
            raise ValueError("sides must be multiples of 16")
        return super().forward(x.float() if self.what == "float32" else x)


@pytest.mark.parametrize(
    ("what", "reason"),
    [("sides", ""), ("float32", "it does not run in float64, in which this is tried")],
)
def test_networks_with_wants_of_their_own_are_tried_or_left(what: str, reason: str) -> None:
    network = network_of(Particular(what))
    group = stream(find_groups(network), "head")
    assert why_not_linear(network, group) == reason


def test_blocks_and_ends_are_no_streams() -> None:
    network: Network = create("edsr", n_blocks=1, n_feats=6)
    grouping = find_groups(network)
    reasons = {group.layers[0]: why_not_linear(network, group)
               for group in grouping.groups}  # fmt: skip
    assert reasons["head.0"] == ""
    assert "blocks" in reasons["tail.0.0"]
    assert all(reasons[name] for name in reasons if name != "head.0")


def test_the_first_directions_hold_what_readers_use() -> None:
    generator = torch.Generator().manual_seed(2)
    size = 5
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    weights, mixing = draw(3, size), draw(size, size)
    gram, spread = weights.T @ weights, mixing @ mixing.T
    basis = _basis([(gram, spread)], 3)
    for block in (basis[:, :3], basis[:, 3:]):
        torch.testing.assert_close(block.T @ block, torch.eye(block.shape[1], dtype=torch.float64))
    # Three outputs read the stream: nothing of theirs lies in the other two coordinates.
    coordinates = torch.linalg.inv(basis)
    lost = basis[:, 3:] @ coordinates[3:]
    seen = torch.trace(weights @ lost @ spread @ lost.T @ weights.T)
    assert seen < 1e-4 * torch.trace(weights @ spread @ weights.T)
