"""Groups that the network's own code counts on are found by trying; the others stay as found."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.compacting.surgery import compact
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.plan import apply_masks, make_plan
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import (
    FACTORY,
    changed_by_hand,
    group_with,
    random_plan,
    user_network,
)


class Counted(nn.Module):
    """Reshapes what ``b`` puts out by the number of channels of what ``a`` puts out."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.ModuleList(nn.Conv2d(3 if i == 0 else 6, 6, 1) for i in range(5))
        self.a, self.b = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 8, 1)
        self.c = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.free:
            x = F.relu(layer(x))
        y = F.relu(self.a(x))
        n, c, h, w = y.shape
        return self.c(self.b(y).cumsum(1).reshape(n, c, h, w))


def test_what_the_code_counts_on_is_kept_and_the_rest_is_not() -> None:
    network = user_network(Counted)
    found = find_groups(network)
    assert {layer: g.status for g in found.groups for layer in g.layers} == {
        **{f"free.{i}": "free" for i in range(5)},
        **dict.fromkeys("abc", "untouchable"),
    }
    (why,) = group_with(found, "a").why
    assert why.startswith("without some of its channels the network's own forward fails (shape")
    proof = compact(network, random_plan(found, 1)).card.proof
    assert proof is not None
    assert proof["max_difference"] < 1e-9


class Mean(nn.Module):
    """Divides by a number of channels: without some of them the code runs, but not the same."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        return self.b(y / y.shape[1])


def test_what_the_code_computes_from_a_number_of_channels_is_kept() -> None:
    group = group_with(find_groups(user_network(Mean)), "a")
    assert group.status == "untouchable"
    assert group.why == ["without some of its channels the network's code computes something else"]


def test_the_network_is_left_as_it_is() -> None:
    network = user_network(Counted)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    find_groups(network)
    after = network.module.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert network.module.c.weight.dtype == torch.float32


def together(y, shape):
    return y.reshape(shape)


class Baked(nn.Module):
    """Attention whose reshapes ask for the width of its input, which stays as it is normalised."""

    def __init__(self, inside: nn.Module | None = None) -> None:
        super().__init__()
        self.lift, self.norm, self.back = nn.Conv2d(3, 16, 1), nn.LayerNorm(16), nn.Conv2d(16, 3, 1)
        self.qkv, self.out, self.inside = nn.Linear(16, 48), nn.Linear(16, 16), inside

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.lift(x).permute(0, 2, 3, 1).flatten(0, 1))  # rows are windows
        b, n, c = y.shape
        y = y if self.inside is None else self.inside(y)
        y = self.qkv(y).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = (y[0] @ y[1].mT * 0.1).softmax(-1) @ y[2]
        y = self.out(together(y.transpose(1, 2), (b, n, c)))
        return self.back(y.unflatten(0, (len(x), -1)).permute(0, 3, 1, 2))


def test_numbers_in_reshapes_are_replaced_and_kept_on_the_card(tmp_path: Path) -> None:
    network = user_network(Baked)
    for widths in ((24, 8), (12, 4)):  # what was pruned is pruned again
        grouping = find_groups(network)
        group = group_with(grouping, "qkv")
        assert group.status == "coupled"
        half = {group.name: list(range(0, len(group.atoms), 2))}
        plan = make_plan(grouping, half, "half", {})
        masked = network.copy().module
        apply_masks(masked, plan)
        small = compact(network, plan)
        save_network(small, tmp_path / "small.safetensors")
        network = read_network(tmp_path / "small.safetensors", arch=FACTORY)
        assert (network.module.qkv.out_features, network.module.out.in_features) == widths
        x = torch.rand(2, 3, 7, 9, dtype=torch.float64)
        with torch.no_grad():
            assert torch.allclose(masked.double()(x), network.copy().module.double()(x), atol=1e-12)
    assert network.card.numbers == {
        "": {
            "reshape at forward 5 (?, ?, 3, 2, 8)[4]": 2, "reshape at together 2 (?, ?, 16)[2]": 4,
            "reshape at forward 5 (?, ?, 3, 2, 4)[4]": 2, "reshape at together 2 (?, ?, 8)[2]": 4,
        }
    }  # fmt: skip


class Alike(nn.Module):
    """A reshape, by the same line, to sizes that elsewhere are numbers of channels that go."""

    def forward(self, x: Tensor) -> Tensor:
        return together(x.cumsum(1), x.shape)


def test_reshapes_that_cannot_be_told_apart_are_left_alone() -> None:
    grouping = find_groups(user_network(lambda: Baked(Alike())))
    group = group_with(grouping, "qkv")
    assert group.status == "untouchable"
    assert "invalid for input of size" in group.why[0]


class DividedHeads(nn.Module):
    """Attention between channels of four heads; the code divides a width that stays by them."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 4
        self.lift, self.norm, self.back = nn.Conv2d(3, 16, 1), nn.LayerNorm(16), nn.Conv2d(16, 3, 1)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.temperature = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.lift(x).flatten(2).transpose(1, 2))
        b, n, c = y.shape
        q, k, v = self.qkv(y).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 4, 1)
        y = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * self.temperature).softmax(-1) @ v
        y = self.out(y.permute(0, 3, 1, 2).reshape(b, n, c))
        return self.back(y.transpose(1, 2).unflatten(2, x.shape[2:]))


def test_a_width_that_is_divided_by_the_number_of_heads() -> None:
    network = user_network(DividedHeads)
    grouping = find_groups(network)
    group = group_with(grouping, "qkv")
    assert (group.status, len(group.atoms), group.block) == ("coupled", 4, 12)
    plan = make_plan(grouping, {group.name: [1, 2]}, "two", {})
    small = compact(network, plan)
    assert changed_by_hand(network.module, small.module, plan) > 1e-3
    assert small.card.numbers == {
        "": {
            "reshape at forward 4 (?, ?, 3, 4, 4)[3]": 2, "reshape at forward 6 (?, ?, 16)[2]": 8
        }
    }  # fmt: skip
    assert small.module.heads == 4
