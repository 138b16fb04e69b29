"""NNI chooses what a plain reading of the criteria chooses."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from srdeploy.compacting.surgery import compact
from srdeploy.models.registry import create
from srdeploy.models.resize import layer_numbers
from srdeploy.models.store import build
from srdeploy.pruning.methods.oneshot import plan_oneshot
from srdeploy.pruning.methods.pruners import choose
from srdeploy.pruning.methods.table import CRITERIA
from srdeploy.pruning.options import PruneOptions, removals
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.blocks import BLOCKS
from tests.pruning.helpers import FACTORY, groups_of, plain_weights, user_network
from tests.pruning.random_network import RandomNetwork
from tests.pruning.tracing.test_groups import Net


def lowest(scores: torch.Tensor, count: int) -> list[int]:
    return sorted(scores.topk(count, largest=False).indices.tolist())


@pytest.fixture(scope="module")
def edsr():
    torch.manual_seed(1)
    network = create("edsr", n_blocks=2, n_feats=16)
    return network, find_groups(network)


def chosen(edsr, criterion, ratio=0.4, seed=0):
    network, grouping = edsr
    counts = removals(grouping, PruneOptions(ratio=ratio, exclude=("tail.*",)))
    return choose(network.module, grouping, counts, criterion, seed)


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.5, 0.8, 0.93])
def test_l1_ranks_free_layers_by_mean_magnitude(edsr, ratio):
    network, grouping = edsr
    got = chosen(edsr, "l1", ratio)
    for group in grouping.groups:
        if group.status == "free":
            scores = network.module.get_submodule(group.layers[0]).weight.abs().mean((1, 2, 3))
            assert sorted(got[group.name]) == lowest(scores, len(got[group.name]))


def test_l1_ranks_coupled_layers_jointly(edsr):
    network, grouping = edsr
    got = chosen(edsr, "l1")
    (group,) = [g for g in grouping.groups if g.name in got and g.status == "coupled"]
    weights = [network.module.get_submodule(layer).weight for layer in group.layers]
    scores = torch.stack([w.abs().sum((1, 2, 3)) for w in weights]).sum(0)
    assert sorted(got[group.name]) == lowest(scores, len(got[group.name]))


def test_l2_ranks_by_norm(edsr):
    network, grouping = edsr
    got = chosen(edsr, "l2")
    for group in grouping.groups:
        if group.status == "free":
            scores = network.module.get_submodule(group.layers[0]).weight.flatten(1).norm(dim=1)
            assert sorted(got[group.name]) == lowest(scores, len(got[group.name]))


def test_fpgm_ranks_by_distance_to_the_others(edsr):
    network, grouping = edsr
    got = chosen(edsr, "fpgm")
    for group in grouping.groups:
        if group.status == "free":
            flat = network.module.get_submodule(group.layers[0]).weight.flatten(1)
            scores = torch.cdist(flat, flat).sum(1)
            assert sorted(got[group.name]) == lowest(scores, len(got[group.name]))


def test_criteria_differ_and_random_follows_its_seed(edsr):
    assert len({str(chosen(edsr, criterion)) for criterion in CRITERIA}) == len(CRITERIA)
    assert chosen(edsr, "random", seed=3) == chosen(edsr, "random", seed=3)
    assert chosen(edsr, "random", seed=3) != chosen(edsr, "random", seed=4)


def test_the_network_is_left_alone(edsr):
    network, _ = edsr
    before = [tensor.clone() for tensor in network.module.parameters()]
    names = [type(layer).__name__ for layer in network.module.modules()]
    chosen(edsr, "l1")
    assert all(map(torch.equal, before, network.module.parameters()))
    assert names == [type(layer).__name__ for layer in network.module.modules()]


def test_blocks_before_pixel_shuffle_go_whole():
    torch.manual_seed(0)
    network = create("edsr", n_blocks=1, n_feats=8, scale=2)
    grouping = find_groups(network)
    got = choose(network.module, grouping, {"g4": 3}, "l1")
    weight = network.module.tail[0][0].weight
    scores = weight.abs().mean((1, 2, 3)).view(8, 4).mean(1)
    assert sorted(got["g4"]) == lowest(scores, 3)


def test_layers_in_several_groups_transposed_layers_and_linear_ones():
    def forward(n, x):
        y = torch.cat([n.a(x), n.b(x)], 1) + n.c(x)
        y = torch.relu(n.t(y)).permute(0, 2, 3, 1)
        return n.d(torch.relu(n.l(y)).permute(0, 3, 1, 2))

    torch.manual_seed(0)
    net = Net(
        forward,
        a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 6, 1), c=nn.Conv2d(3, 10, 1),
        t=nn.ConvTranspose2d(10, 8, 2, 2), l=nn.Linear(8, 6), d=nn.Conv2d(6, 3, 1),
    )  # fmt: skip
    grouping = groups_of(net)
    counts = removals(grouping, PruneOptions(ratio=0.5))
    got = choose(net, grouping, counts, "l1")
    assert {name: len(removed) for name, removed in got.items()} == counts
    by_layer = {tuple(g.layers): sorted(got[g.name]) for g in grouping.groups if g.name in got}
    assert by_layer["t",] == lowest(net.t.weight.abs().mean((0, 2, 3)), 4)
    assert by_layer["l",] == lowest(net.l.weight.abs().mean(1), 3)
    a, c = net.a.weight.abs().mean((1, 2, 3)), net.c.weight.abs().mean((1, 2, 3))
    assert by_layer["a", "c"] == lowest(a + c[:4], 2)


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_every_block_is_served_by_nni_and_prunes_again(name):
    criterion = CRITERIA[len(name) % len(CRITERIA)]
    for seed in range(2):
        make = partial(RandomNetwork, ["Conv", name], seed, 3, 2, "deep")
        network = user_network(partial(plain_weights, make), scale=2)
        for ratio in (0.3, 0.6):
            grouping = find_groups(network)
            options = PruneOptions(ratio=ratio, criterion=criterion)
            plan = plan_oneshot(network, options, grouping)
            counts = {group: len(atoms) for group, atoms in plan.removed.items()}
            assert counts == removals(grouping, options)
            network = compact(network, plan)
            rebuilt = build(network.card, arch=FACTORY)
            assert layer_numbers(rebuilt.module) == layer_numbers(network.module)


def test_layers_laid_out_differently_share_a_decision():
    def forward(n, x):
        y = n.a(x)
        s = n.l(y.mean((2, 3))).view(1, -1, 1, 1)
        return n.d(y * s + n.t(x))

    torch.manual_seed(0)
    net = Net(
        forward, a=nn.Conv2d(3, 8, 3, padding=1), l=nn.Linear(8, 8),
        t=nn.ConvTranspose2d(3, 8, 1), d=nn.Conv2d(8, 3, 1),
    )  # fmt: skip
    grouping = groups_of(net)
    (group,) = [g for g in grouping.groups if g.status == "coupled"]
    assert set(group.layers) == {"a", "l", "t"}
    got = choose(net, grouping, {group.name: 3}, "l1")[group.name]
    scores = [net.a.weight.abs().sum((1, 2, 3)), net.l.weight.abs().sum(1)]
    scores.append(net.t.weight.abs().sum((0, 2, 3)))
    assert sorted(got) == lowest(torch.stack(scores).sum(0), 3)
