"""Residual blocks are found from what runs, whatever the code calls them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.resize import layer_widths
from srdeploy.pruning.tracing.residual_blocks import ResidualBlocks, find_residual_blocks


class Plain(nn.Module):
    """``x + body(x)``, in ways that people write it."""

    def __init__(self, way: str, width: int = 8) -> None:
        super().__init__()
        self.way = way
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, scale: float = 0.5) -> Tensor:
        """[N, C, H, W] to the same."""
        y = self.two(torch.relu(self.one(x)))
        if self.way == "in place":
            y += x
            return y
        if self.way == "scaled":
            return torch.add(x, y, alpha=scale)
        if self.way == "twice":
            x = x + y
            return x + self.one(torch.sigmoid(x)) * 0.1
        if self.way == "attention":
            return x + y * torch.sigmoid(y.mean((2, 3), keepdim=True))
        if self.way == "norm":
            return x + self.norm(y)
        if self.way == "stream changed":
            return torch.relu(x) + y
        return x + y if self.way == "plain" else torch.cat([x[:, :4], (x + y)[:, 4:]], 1)


class Net(nn.Module):
    """Two such blocks between a head and a tail; the first may run twice."""

    def __init__(self, way: str, again: bool = False) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.first, self.second = Plain(way), Plain(way)
        self.again = again
        self.tail = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, 2H, 2W]."""
        x = self.first(self.head(x))
        x = self.first(x) if self.again else x
        return nn.functional.pixel_shuffle(self.tail(self.second(x, scale=0.5)), 2)


def _found(way: str, again: bool = False) -> ResidualBlocks:
    torch.manual_seed(0)
    module = Net(way, again).eval()
    nn.init.constant_(module.first.norm.bias, 0.1)
    nn.init.constant_(module.second.norm.bias, 0.1)
    card = Card(
        arch="tests:Net", scale=2, scales=(2,), channels=3, value_range=1.0,
        widths=layer_widths(module),
    )  # fmt: skip
    return find_residual_blocks(Network(module, card))


@pytest.mark.parametrize(
    ("way", "ends"),
    [
        ("plain", ["two"]),
        ("in place", ["two"]),
        ("scaled", ["two"]),
        ("attention", ["two"]),
    ],
)
def test_bodies_are_found_however_they_are_added(way: str, ends: list[str]) -> None:
    found = _found(way)
    assert [block.name for block in found.blocks] == ["first", "second"]
    assert found.blocks[1].layers == ("second.one", "second.two")
    assert found.blocks[1].ends == tuple(f"second.{end}" for end in ends)
    assert not found.stay


def test_a_block_of_two_sums_has_two_ends() -> None:
    (first, _) = _found("twice").blocks
    assert set(first.ends) == {"first.one", "first.two"}


def test_what_cannot_go_says_why() -> None:
    assert _found("norm").stay == dict.fromkeys(
        ("first", "second"), "no layer of it makes what it adds zero"
    )
    again = _found("plain", again=True)
    assert [block.name for block in again.blocks] == ["second"]
    assert again.stay == {"first": "it runs 2 times"}
    assert _found("stream changed") == ResidualBlocks((), {})


def test_bodies_that_other_code_adds_have_the_names_of_their_parts() -> None:
    first, second = _found("cut").blocks
    assert (first.name, second.name) == ("first.one+first.two", "second.one+second.two")
    assert all(part.adds_nothing for part in first.parts.values())
    assert first.ends == ("first.two",)


def _names(network: Network) -> list[str]:
    return [block.name for block in find_residual_blocks(network).blocks]


def test_published_architectures() -> None:
    small = {"n_feats": 8, "scale": 2}
    assert _names(create("edsr", n_blocks=3, **small)) == ["body.0", "body.1", "body.2"]
    rcan = find_residual_blocks(create("rcan", n_groups=2, n_blocks=1, reduction=4, **small))
    names = ["body.0", "body.0.body.0", "body.1", "body.1.body.0"]
    assert sorted(block.name for block in rcan.blocks) == names
    block = {one.name: one for one in rcan.blocks}
    assert block["body.0.body.0"].ends == ("body.0.body.0.body.2",)  # attention alone adds no zero
    assert block["body.0"].inside == ("body.0.body.0",)
    rrdb = find_residual_blocks(create("rrdbnet", n_blocks=1, growth=4, **small))
    assert {"body.0.rdb1", "body.0.rdb3"} <= {block.name for block in rrdb.blocks}
    assert _names(create("vdsr", n_layers=4, n_feats=8)) == []  # all of it is one body
