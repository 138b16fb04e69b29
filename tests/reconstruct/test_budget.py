"""Models of cost against the counts of networks that were really made smaller."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.compacting.surgery import compact
from srdeploy.errors import UserError
from srdeploy.models.count import count
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.pruners import choose
from srdeploy.pruning.options import PruneOptions, removals
from srdeploy.pruning.plan import make_plan
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.reconstruct.budget import budget_of, macs_720p, parameters
from tests.pruning.helpers import user_network


class Odd(nn.Module):
    """Depthwise, transposed, normalised, shuffled."""

    value_range, scale = 1.0, 2

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 12, 1)
        self.slopes = nn.PReLU(12)
        self.up = nn.ConvTranspose2d(12, 6, 4, stride=2, padding=1)
        self.wide = nn.Conv2d(6, 24, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.last = nn.Conv2d(6, 3, 3, padding=1, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.slopes(self.point(self.depth(self.norm(self.head(x)).relu())))
        return self.last(self.shuffle(self.wide(self.up(y).relu())).relu())


def networks() -> list[Network]:
    torch.manual_seed(0)
    return [
        create("edsr", scale=2, n_blocks=2, n_feats=8),
        create("vdsr", n_layers=4),
        user_network(Odd, scale=2),
    ]


@pytest.mark.parametrize("index", range(3))
def test_the_models_count_what_compaction_leaves(index: int) -> None:
    network = networks()[index]
    grouping = find_groups(network)
    whole = count(network)
    by_macs, by_params = macs_720p(network, grouping), parameters(network, grouping)
    assert by_macs({}) == pytest.approx(whole.macs_720p)
    assert by_params({}) == whole.params
    for ratio in (0.25, 0.5, 0.7):
        counts = removals(grouping, PruneOptions(ratio=ratio))
        assert counts
        removed = choose(network.module, grouping, counts, "l1")
        small = count(compact(network, make_plan(grouping, removed, "l1", {})))
        assert by_macs(counts) == pytest.approx(small.macs_720p, rel=1e-6)
        assert by_params(counts) == pytest.approx(small.params, rel=1e-9)
        one = next(iter(counts))
        assert by_macs({one: counts[one]}) < by_macs({})


def test_a_budget_is_one_positive_number() -> None:
    assert budget_of(None, None) is None
    found = budget_of(1e9, None), budget_of(None, 2e5)
    assert [(one.amount, one.unit) for one in found if one] == [(1e9, "MACs"), (2e5, "parameters")]
    with pytest.raises(UserError, match="Give one budget"):
        budget_of(1.0, 1.0)
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="impossible"):
            budget_of(wrong, None)
        with pytest.raises(UserError, match="impossible"):
            budget_of(None, wrong)
