from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.count import count
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.reconstruct.allocate import allocations
from srdeploy.reconstruct.budget import Budget, budget_of, macs_720p
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.run import prune_by_cost
from tests.pruning.helpers import user_network
from tests.reconstruct.own import network_of

NONE = PruneOptions(ratio=0.0)


class Uneven(nn.Module):
    """Half of ``spare``'s channels are copies of the others; all of ``dear``'s differ."""

    value_range, scale = 1.0, 2

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.spare = nn.Conv2d(3, 8, 3, padding=1)
        self.dear = nn.Conv2d(8, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        with torch.no_grad():
            self.spare.weight[4:] = 2 * self.spare.weight[:4]
            self.spare.bias[4:] = 2 * self.spare.bias[:4]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shuffle(self.tail(self.dear(self.spare(x).relu()).relu()))


def test_what_is_worth_nothing_goes_first() -> None:
    network = user_network(Uneven, scale=2)
    grouping = find_groups(network)
    spare = next(g.name for g in grouping.groups if g.layers == ["spare"])
    cost = macs_720p(network, grouping)
    inputs = torch.rand(4, 3, 16, 16).split(1)
    budget = budget_of(cost({spare: 4}), None)
    assert budget is not None
    uniform, *others = allocations(network, grouping, NONE, budget, inputs)
    assert len(set(uniform.values())) == 1
    assert {spare: 4} in others
    for way in (uniform, *others):
        assert cost(way) <= budget.amount
    # Of the ways the one is taken that comes nearest: what is there twice goes first.
    _, report = prune_by_cost(network, NONE, Calibration(patches=4, side=16), budget=budget)
    removed = {name: len(gone) for name, gone in report.plan.removed.items()}
    assert removed in others


def test_any_model_of_cost_will_do() -> None:
    """Here only ``dear`` costs anything, so that only it goes, as far as it may."""
    network = network_of(Uneven())
    grouping = find_groups(network)
    dear = next(g.name for g in grouping.groups if g.layers == ["dear"])
    budget = Budget(5.0, "ms", lambda network, grouping: lambda removed: 8.0 - removed.get(dear, 0))
    inputs = torch.rand(2, 3, 16, 16).split(1)
    uniform, *others = allocations(network, grouping, NONE, budget, inputs)
    assert uniform[dear] == 3
    assert others == [{dear: 3}]


def test_numbers_are_multiples_and_excluded_groups_stay() -> None:
    network = network_of(Uneven())
    grouping = find_groups(network)
    options = PruneOptions(ratio=0.0, round_to=4, exclude=("dear",))
    budget = budget_of(0.8 * macs_720p(network, grouping)({}), None)
    assert budget is not None
    found = allocations(network, grouping, options, budget, torch.rand(2, 3, 16, 16).split(1))
    assert [list(way.values()) for way in found] == [[4]]


@pytest.mark.parametrize(
    ("share", "words"), [(1.0, "nothing has to be removed"), (0.001, "give that or more")]
)
def test_a_budget_that_changes_nothing_or_cannot_be_met_is_told(share: float, words: str) -> None:
    network = network_of(Uneven())
    grouping = find_groups(network)
    budget = Budget(share * macs_720p(network, grouping)({}), "MACs", macs_720p)
    with pytest.raises(UserError, match=words):
        allocations(network, grouping, NONE, budget, torch.rand(2, 3, 16, 16).split(1))


def test_ratios_of_layers_are_not_passed_over() -> None:
    network = network_of(Uneven())
    options = PruneOptions(ratio=0.0, layer_ratios={"spare": 0.5})
    budget = Budget(1.0, "MACs", macs_720p)
    with pytest.raises(UserError, match="exclude each other"):
        allocations(network, find_groups(network), options, budget, [])


@pytest.mark.parametrize("rotate", [False, True])
def test_a_network_keeps_within_its_budget(rotate: bool) -> None:
    torch.manual_seed(0)
    network = create("ledsr", scale=2, n_blocks=3, n_feats=16)
    few = Calibration(patches=6, side=16)
    whole = count(network).macs_720p
    budget = budget_of(0.4 * whole, None)
    small, report = prune_by_cost(network, NONE, few, rotate=rotate, budget=budget)
    assert 0.3 * whole < count(small).macs_720p <= 0.4 * whole
    assert report.plan.options["ratio"] == "auto"
    assert report.plan.options["budget"] == 0.4 * whole
    assert report.remarks == []
