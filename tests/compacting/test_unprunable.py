"""How much stays whatever the ratio is, counted by hand."""

from __future__ import annotations

import pytest
from torch import nn
from torch.nn import functional as F

from srdeploy.compacting.run import prune_oneshot
from srdeploy.compacting.unprunable import unprunable_of
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import user_network


class Cumulative(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 10, 1), nn.Conv2d(10, 10, 1)
        self.c, self.d = nn.Conv2d(10, 10, 1), nn.Conv2d(10, 3, 1)

    def forward(self, x):
        return self.d(F.relu(self.c(self.b(self.a(x)).cumsum(1))))


def test_channels_and_macs_of_what_is_kept():
    network = user_network(Cumulative)
    _, report = prune_oneshot(network, PruneOptions(ratio=0.5))
    found = report.unprunable
    # a and c are free, b is kept as cumsum reads it, d is the output. Every layer but none can
    # shrink: b reads a's channels, d reads c's.
    assert (found.channels, found.all_channels, found.macs_share) == (13, 33, 0.0)
    assert found.not_followed == (("cumsum", "the network's own forward", "no rule for it"),)
    assert report.to_dict()["unprunable"] == {
        "channels": 13,
        "all_channels": 33,
        "macs_share": 0.0,
        "not_followed": [
            {"operation": "cumsum", "layer": "the network's own forward", "why": "no rule for it"}
        ],
    }
    assert str(found).splitlines() == [
        "13 of 33 channels and 0% of the MACs cannot be pruned (`srdeploy inspect FILE --groups` "
        "says why)",
        "  what cumsum reads is kept in the network's own forward: no rule for it",
    ]


class Kept(Cumulative):
    def forward(self, x):
        y = self.b(self.a(x).cumsum(1))
        return self.d(F.relu(self.c(y.cumsum(1))))


def test_a_layer_between_what_is_kept_counts():
    network = user_network(Kept)
    found = unprunable_of(network, find_groups(network))
    assert found.macs_share == pytest.approx((3 * 10 + 10 * 10) / (3 * 10 + 200 + 30))


def test_nothing_is_said_of_a_network_that_is_followed():
    network = create("edsr", n_blocks=1, n_feats=4)
    assert str(unprunable_of(network, find_groups(network))) == ""


class Attention(nn.Module):
    """Pixels attend to pixels: q and k have channels that can go, in a part without weights."""

    class Products(nn.Module):
        def forward(self, q, k, v):
            weights = (q.flatten(2).transpose(1, 2) @ k.flatten(2)).softmax(-1)
            return (weights @ v.flatten(2).transpose(1, 2)).transpose(1, 2).view(v.shape)

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(3, 8, 1) for _ in range(3))
        self.products, self.out = self.Products(), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = F.avg_pool2d(x, 8)
        return F.interpolate(
            self.out(self.products(self.q(x), self.k(x), self.v(x))), scale_factor=8
        )


def test_products_that_shrink_with_their_factors_do_not_stay():
    network = user_network(Attention, size_multiple=8)
    found = unprunable_of(network, find_groups(network))
    assert (found.channels, found.macs_share) == (3, 0.0)
