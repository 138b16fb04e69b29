"""Cuts at positions that are attributes: found, pruned, stored on the card and rebuilt."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srdeploy.compacting.surgery import compact
from srdeploy.errors import UserError
from srdeploy.models.resize import own_numbers, set_number, set_numbers
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.tracing.cut_numbers import Counted, cut_numbers
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import FACTORY, groups_of, random_plan, user_network


class Distil(nn.Module):
    """IMDN's block (ACM MM 2019): what each split keeps is put together at the end."""

    def __init__(self, c: int = 8, kept: int = 3) -> None:
        super().__init__()
        self.kept, self.rest = kept, c - kept
        self.layers = nn.ModuleList(
            nn.Conv2d(n, m, 1) for n, m in ((c, c), (self.rest, c), (self.rest, kept))
        )
        self.fuse = nn.Conv2d(3 * kept, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, y = torch.split(F.relu(self.layers[0](x)), (self.kept, self.rest), 1)
        b, y = torch.split(F.relu(self.layers[1](y)), (self.kept, self.rest), 1)
        return x + self.fuse(torch.cat([a, b, self.layers[2](y)], 1))


class Partial(nn.Module):
    """PLKSR's split (2024) by slices, with numbers in a list: one is named, one is left over."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [3, 5]
        self.wide, self.narrow, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(3, 3, 3, padding=1), 1
        self.out = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.wide(x))
        first, second = y[:, : self.sizes[0]], y[:, self.sizes[0] :]
        return x + self.out(torch.cat([self.narrow(first), second], 1))


class Remainder(Partial):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.wide(x))
        first, second = torch.split(y, [self.sizes[0], y.shape[1] - self.sizes[0]], 1)
        return x + self.out(torch.cat([self.narrow(first), second], 1))


class Times(nn.Module):
    """The second part is three times the first (IMDeception, 2022)."""

    def __init__(self) -> None:
        super().__init__()
        self.core = 3
        self.wide, self.narrow = nn.Conv2d(8, 12, 1), nn.Conv2d(9, 4, 1)
        self.out = nn.Conv2d(7, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = torch.split(F.relu(self.wide(x)), (self.core, 3 * self.core), 1)
        return x + self.out(torch.cat([first, self.narrow(second)], 1))


class Around(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.head, self.body = nn.Conv2d(3, 8, 1), nn.Sequential(*blocks)
        self.tail = nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x)))


CASES = {
    "distil": (lambda: Around(Distil(), Distil(kept=4)), "body.0.layers.0", ("kept", "rest")),
    "slices": (lambda: Around(Partial()), "body.0.wide", ("sizes[0]",)),
    "times": (lambda: Around(Times()), "body.0.wide", ("core",)),
    "remainder": (lambda: Around(Remainder()), "body.0.wide", ("sizes[0]",)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_attributes_cut_is_pruned_exactly_and_comes_back_from_a_file(name, tmp_path):
    make, layer, attributes = CASES[name]
    network = user_network(make)
    grouping = find_groups(network)
    groups = [group for group in grouping.groups if layer in group.layers]
    assert {group.status for group in groups} <= {"free", "coupled"}
    plan = random_plan(grouping, 5)
    small = compact(network, plan)
    assert small.card.proof["max_difference"] < 1e-9
    assert small.card.widths[layer] < network.card.widths[layer]
    block, original = small.module.body[0], network.module.body[0]
    assert small.card.numbers["body.0"].keys() == set(attributes)
    for attribute, value in small.card.numbers["body.0"].items():
        assert own_numbers(block)[attribute] == value < own_numbers(original)[attribute]
    save_network(small, tmp_path / "n.safetensors")
    again = read_network(tmp_path / "n.safetensors", arch=FACTORY)
    x = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))
    # And once more from there.
    smaller = compact(again, random_plan(find_groups(again), 6))
    assert smaller.card.proof["max_difference"] < 1e-9
    save_network(smaller, tmp_path / "m.safetensors")
    with torch.no_grad():
        found = read_network(tmp_path / "m.safetensors", arch=FACTORY).module(x)
        assert torch.equal(found, smaller.module(x))


def test_two_splits_by_the_same_attributes_lose_the_same():
    found = groups_of(Around(Distil()))
    coupled = [g for g in found.groups if "body.0.layers.0" in g.layers]
    assert sum(len(g.atoms) for g in coupled) == 8
    assert all("body.0.layers.1" in g.layers for g in coupled)
    assert "counted by the same attribute in 'body.0'" in [why for g in coupled for why in g.why]


class Constant(Partial):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.wide(x))
        return x + self.out(torch.cat([self.narrow(y[:, :3]), y[:, 3:]], 1))


class Twice(Partial):
    """The same numbers from another attribute: which is which cannot be told."""

    def __init__(self) -> None:
        super().__init__()
        self.other = 3

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.wide(x))
        return x + self.out(torch.cat([self.narrow(y[:, : self.sizes[0]]), y[:, self.other :]], 1))


class Multiple(Partial):
    """The second number is computed from the attribute: it does not follow what is pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes, self.total = [4], 8  # 4 = 2 * 4 - 4

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.wide(x))
        first, second = torch.split(y, (self.sizes[0], 2 * self.sizes[0] - 4), 1)
        return x + self.out(torch.cat([first, second], 1))


class Total(Multiple):
    """It is what is left of another attribute, which is no number of channels that are cut."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.wide(x))
        first, second = torch.split(y, (self.sizes[0], self.total - self.sizes[0]), 1)
        return x + self.out(torch.cat([first, second], 1))


@pytest.mark.parametrize("kind", [Multiple, Total])
def test_numbers_that_do_not_follow_the_attribute_are_replaced_in_the_code(kind):
    network = user_network(lambda: Around(kind()))
    small = compact(network, random_plan(find_groups(network), 5))
    assert small.card.widths["body.0.wide"] < 8
    assert set(small.card.numbers["body.0"]) == {
        "split 1 of 4 at forward 3 (4, 4)[0]", "split 1 of 4 at forward 3 (4, 4)[1]"
    }  # fmt: skip


def test_numbers_in_the_code_itself_are_followed_by_others(tmp_path):
    network = user_network(lambda: Around(Constant()))
    small = compact(network, random_plan(find_groups(network), 5))
    assert small.card.widths["body.0.wide"] < 8
    assert set(small.card.numbers["body.0"]) <= {
        "slice 1 of 4 at forward 3 (?, 3)[1]", "slice 1 of 4 at forward 3 (3, ?)[0]"
    }  # fmt: skip


def test_two_attributes_for_one_position_stay_equal():
    network = user_network(lambda: Around(Twice()))
    small = compact(network, random_plan(find_groups(network), 3))
    block = small.module.body[0]
    assert block.sizes[0] == block.other < 3


def test_what_is_tried_leaves_no_trace():
    module = Around(Distil(), Partial()).train()
    before = copy.deepcopy(module)
    found = cut_numbers(module, torch.rand(1, 3, 6, 6))
    assert found == {
        ("body.0", "split_with_sizes", 1, (3, 5)): (Counted("kept"), Counted("rest")),
        ("body.1", "slice", 1, (0, 3)): (None, Counted("sizes[0]")),
        ("body.1", "slice", 1, (3, 8)): (Counted("sizes[0]"), None),
    }
    for old, new in zip(before.modules(), module.modules(), strict=True):
        assert own_numbers(old) == own_numbers(new)
        assert new.training
        assert not new._forward_pre_hooks


def test_numbers_of_a_module():
    block = Partial()
    block.pair, block.flag, block.none, block._own, block.big = (2, 7), True, 0, 5, 2.0
    assert own_numbers(block) == {
        "sizes[0]": 3, "sizes[1]": 5, "last": 1, "pair[0]": 2, "pair[1]": 7
    }  # fmt: skip
    assert own_numbers(nn.Conv2d(3, 3, 1)) == {}
    set_number(block, "pair[1]", 6)
    set_number(block, "last", 4)
    assert (block.pair, block.last) == ((2, 6), 4)
    set_numbers(nn.Sequential(block), {"0": {"sizes[1]": 2}})
    assert block.sizes == [3, 2]


@pytest.mark.parametrize(
    "numbers", [{"1": {"last": 1}}, {"0": {"first": 1}}, {"0": {"last": 2}}, {"0": {"flag": 1}},
                {"0": {"sizes[2]": 1}}, {"0": {"wide": 1}}, {"0": {"last": 0}}]
)  # fmt: skip
def test_numbers_of_a_card_that_do_not_fit_are_refused(numbers):
    with pytest.raises(UserError, match=r"gives '.*' a number that the base network does not have"):
        set_numbers(nn.Sequential(Partial()), numbers)
