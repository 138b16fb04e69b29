"""GASSL's search: who is penalised, and how many filters each layer loses by rank."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.weight_norm import gamma_of
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.helpers import group_with
from tests.pruning.walk import Walk, pruner_of, set_filters

LAYERS = ["input", "residual_layer.0.conv", "residual_layer.1.conv"]
SEARCH = {"growth": 0.25, "every": 2, "limit": 0.5, "hold": 1}
LEVELS = [0.25, 0.25, 0.5, 0.5, 0.5]


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return create("vdsr", n_layers=4, n_feats=8)


def options(**values: Any) -> dict[str, Any]:
    return {"method": "gassl", "search": SEARCH, **values}


def numbers(widths: list[int], biases: int) -> int:
    """Of a VDSR with these widths: 3x3 kernels between one channel and one channel."""
    ends = [1, *widths, 1]
    return sum(9 * a * b for a, b in itertools.pairwise(ends)) + biases * sum(ends[1:])


def by_hand(norms: list[list[float]], ratio: float, keep: float, biases: int) -> list[int]:
    """Filters that go of each layer: the smallest of all, until the network is small enough."""
    total = len(norms[0])
    even = math.ceil(ratio * total)
    least = math.ceil(keep * (total - even))
    wanted = numbers([total - even] * len(norms), biases)
    widths = [total] * len(norms)
    for _, layer in sorted((norm, i) for i, row in enumerate(norms) for norm in row):
        if numbers(widths, biases) <= wanted:
            break
        if widths[layer] > least:
            widths[layer] -= 1
    return [total - width for width in widths]


def test_every_gamma_carries_the_same_penalty(network: Network) -> None:
    before = {n: t.clone() for n, t in network.module.state_dict().items()}
    sizes: list[torch.Tensor] = []
    walk = Walk(
        lr=0.1,
        pull=0.0,
        visit=lambda _: sizes.append(gamma_of(network.module, "input").detach().flatten().clone()),
    )
    pruner = pruner_of(network, walk, 0.5, **options())
    pruner.compress()
    left = list(itertools.accumulate((1 - 0.1 * 0.5 * x for x in LEVELS), lambda a, b: a * b))
    norms = before["input.weight"].flatten(1).norm(dim=1)
    assert len(sizes) == len(LEVELS)
    for size, factor in zip(sizes, left, strict=True):
        torch.testing.assert_close(size, norms * factor)
    for name in LAYERS:
        weight = network.module.state_dict()[f"{name}.weight"]
        torch.testing.assert_close(weight, before[f"{name}.weight"] * left[-1])
    assert network.module.state_dict().keys() == before.keys()
    assert pruner.removed == {}


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("keep", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_counts_by_rank(network: Network, ratio: float, keep: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    norms = []
    for index, name in enumerate(LAYERS):
        row = (torch.rand(8, generator=generator) + 0.1) * (index + 1) ** (seed / 2)
        layer = network.module.get_submodule(name)
        set_filters(layer, row.tolist())
        norms.append((row * layer.weight[0].numel() ** 0.5).tolist())
    walk = Walk()
    pruner = pruner_of(network, walk, **options(ratio=ratio, search={**SEARCH, "keep": keep}))
    pruner.compress()
    got = pruner.counts_by_rank()
    grouping = find_groups(network)
    biases = int(network.module.get_submodule("input").bias is not None)
    wanted = by_hand(norms, ratio, keep, biases)
    names = [group_with(grouping, name).name for name in LAYERS]
    assert [got.get(name, 0) for name in names] == wanted
    assert 0 not in got.values()
    if keep == 1.0:  # nothing may be spread
        assert len(set(wanted)) == 1


def test_a_coupled_group_counts_by_its_mean_gamma() -> None:
    torch.manual_seed(0)
    network = create("ledsr", n_blocks=1, n_feats=4)
    ends = ["head.0", "body.0.body.2", "body.1"]
    rows = [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
    norms = []
    for name, row in zip(ends, rows, strict=True):
        layer = network.module.get_submodule(name)
        set_filters(layer, row)
        norms.append(torch.tensor(row) * layer.weight[0].numel() ** 0.5)
    pruner = pruner_of(network, Walk(), **options(exclude=("tail.*",)))
    pruner.compress()
    scores = pruner.scores[group_with(find_groups(network), "head.0").name]
    torch.testing.assert_close(scores, torch.stack(norms).mean(0))
