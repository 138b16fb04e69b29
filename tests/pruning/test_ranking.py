"""Counts by a ranking over the whole network, on sizes that are worked out by hand."""

from __future__ import annotations

import torch

from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions, removals
from srdeploy.pruning.ranking import counts_by_rank, mean_weights
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import group_with
from tests.pruning.walk import set_filters

LAYERS = ("input", "residual_layer.0.conv", "residual_layer.1.conv")


def vdsr(*rows: list[float]) -> Network:
    """Three layers of four filters; every weight of a filter has the value given."""
    network = create("vdsr", n_layers=4, n_feats=4)
    for name, row in zip(LAYERS, rows, strict=True):
        set_filters(network.module.get_submodule(name), row)
    return network


def counted(network: Network, ratio: float = 0.5, keep: float = 0.0) -> list[int]:
    grouping = find_groups(network)
    counts = removals(grouping, PruneOptions(ratio=ratio))
    groups = [group for group in grouping.groups if group.name in counts]
    scores = {group.name: mean_weights(network.module, group) for group in groups}
    shapes = {name: list(t.shape) for name, t in network.module.state_dict().items()}
    found = counts_by_rank(groups, scores, counts, shapes, keep)
    return [found.get(group_with(grouping, name).name, 0) for name in LAYERS]


def test_the_weakest_layer_loses_most_and_one_channel_always_stays() -> None:
    strong, weak = [4.0, 5.0, 6.0, 7.0], [0.1, 0.2, 0.3, 0.4]
    first, second, third = counted(vdsr(strong, weak, strong))
    assert second == 3
    assert first < 3
    assert third < 3


def test_equal_layers_lose_alike_within_one() -> None:
    row = [1.0, 2.0, 3.0, 4.0]
    found = counted(vdsr(row, row, row))
    assert max(found) - min(found) <= 1
    assert counted(vdsr(row, row, row), keep=1.0) == [2, 2, 2]


def test_scores_are_means_over_all_layers_of_a_group() -> None:
    network = create("ledsr", n_blocks=1, n_feats=2)
    rows = {"head.0": [1.0, 2.0], "body.0.body.2": [3.0, 2.0], "body.1": [5.0, 5.0]}
    for name, row in rows.items():
        set_filters(network.module.get_submodule(name), row)
    group = group_with(find_groups(network), "head.0")
    torch.testing.assert_close(mean_weights(network.module, group), torch.tensor([3.0, 3.0]))
