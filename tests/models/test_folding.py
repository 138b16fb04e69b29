"""Expanded networks: what they are counted as, and that pruning begins with the folded one."""

from __future__ import annotations

import pytest
import torch

from srdeploy.compacting.run import prune_oneshot
from srdeploy.models.count import count
from srdeploy.models.folding import folded, is_expanded
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.stage_ratios import read_layer_ratios
from srdeploy.pruning.tracing.groups import find_groups


@pytest.fixture
def expanded() -> Network:
    return create("sesr", n_blocks=3, n_feats=8, n_expanded=12)


def test_the_folded_network_is_one_of_its_own(expanded: Network) -> None:
    plain = folded(expanded)
    base = create("sesr", n_blocks=3, n_feats=8, n_expanded=12, expanded=False)
    assert is_expanded(expanded.module)
    assert not is_expanded(plain.module)
    assert plain.card.history == [{"step": "fold", "blocks": 5}]
    assert plain.card.model_copy(update={"history": []}) == base.card
    assert plain.module.state_dict().keys() == base.module.state_dict().keys()
    assert folded(plain) is plain
    assert [p.requires_grad for p in plain.module.parameters()] == [
        p.requires_grad for p in base.module.parameters()
    ]


def test_it_is_counted_as_it_runs(expanded: Network) -> None:
    assert count(expanded) == count(folded(expanded))
    published = count(create("sesr-m5", scale=2, channels=1))
    assert published.params == 13_520 + 100  # the paper's table 1 counts no biases
    assert published.macs_720p == pytest.approx(3.11e9, rel=2e-3)


@pytest.mark.usefixtures("one_way")
def test_what_is_pruned_is_the_folded_network(expanded: Network) -> None:
    small, report = prune_oneshot(expanded, PruneOptions(ratio=0.5))
    assert small.card.config["expanded"] is False
    assert small.card.history[0] == {"step": "fold", "blocks": 5}
    assert report.before == count(expanded)
    names = find_groups(expanded).layer_names()
    assert "residual_block.0.conv_expand" in names
    assert not any("squeeze" in name for name in names)
    x = torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        assert small.module(x).shape == expanded.module(x).shape
    ratios = read_layer_ratios(["[2-3:0.5]"], expanded)  # numbers of the folded layers
    assert ratios == {"residual_block.0.conv_expand": 0.5, "residual_block.1.conv_expand": 0.5}
