"""Random architectures: whatever is removed, masked(x) == compact(x), and it can be stored."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from srdeploy.compacting.surgery import compact
from srdeploy.models.resize import layer_widths
from srdeploy.models.store import read_network, save_network
from srdeploy.pruning.plan import apply_masks
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning.blocks import BLOCKS
from tests.pruning.helpers import FACTORY, plain_weights, random_plan, user_network
from tests.pruning.random_network import RandomNetwork

TAILS = ("shuffle", "transposed", "deep")


def check(names: list[str], seed: int, channels: int, scale: int, tail: str) -> None:
    make = partial(plain_weights, partial(RandomNetwork, names, seed, channels, scale, tail))
    network = user_network(make, channels=channels, scale=scale, luma_only=channels == 1)
    grouping = find_groups(network)
    plan = random_plan(grouping, seed)
    if not plan.keep:
        return
    before = {k: v.clone() for k, v in network.module.state_dict().items()}
    small = compact(network, plan)

    # The network it came from is as it was.
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)

    # Equal to the masked network at sizes of our own.
    masked = network.copy().module
    apply_masks(masked, plan)
    for size in ((16, 21), (25, 18)):
        x = torch.rand(1, channels, *size, dtype=torch.float64)
        with torch.no_grad():
            wanted, got = masked.double()(x), small.copy().module.double()(x)
        scale_of = max(1.0, float(wanted.abs().max()))
        assert float((wanted - got).abs().max()) / scale_of < 1e-9
    assert small.card.proof["max_difference"] < 1e-9

    # Widths are the plan's, and no other layer changed.
    expected = dict(layer_widths(network.module))
    for group in grouping.groups:
        for index in plan.removed.get(group.name, []):
            for axis, indices in group.atoms[index].members.items():
                if axis.role == "out":
                    layer = network.module.get_submodule(axis.layer)
                    groups = layer.groups if getattr(layer, "transposed", False) else 1
                    expected[axis.layer] -= len(indices) * (groups if axis.dim == 1 else 1)
    assert layer_widths(small.module) == expected == small.card.widths

    # Stored and rebuilt from the card.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "n.safetensors"
        save_network(small, path)
        again = read_network(path, arch=FACTORY)
    x = torch.rand(1, channels, 16, 17)
    with torch.no_grad():
        assert torch.equal(again.module(x), small.module(x))


drawn_networks = given(
    names=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=4),
    seed=st.integers(0, 10_000),
    channels=st.sampled_from([1, 3]),
    scale=st.sampled_from([1, 2, 3, 4]),
    tail=st.sampled_from(TAILS),
)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@drawn_networks
def test_masked_equals_compact(names, seed, channels, scale, tail):
    check(names, seed, channels, scale, tail)


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@drawn_networks
def test_masked_equals_compact_many_times(names, seed, channels, scale, tail):
    check(names, seed, channels, scale, tail)


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_each_block_in_all_its_variants(name):
    for seed in range({"Activation": 16, "Norm": 16, "Unfollowed": 28}.get(name, 4)):
        check(["Conv", name, "Conv"], seed, 3, 2, "shuffle")
