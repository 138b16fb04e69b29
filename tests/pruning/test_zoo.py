"""Blocks of published networks: what prunes, what stays, and what is not followed, by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from srdeploy.compacting.surgery import compact
from srdeploy.pruning.tracing.channel_labels import UnsupportedOperationError
from srdeploy.pruning.tracing.groups import find_groups
from tests.pruning import zoo
from tests.pruning.helpers import groups_of, random_plan, user_network

TRUNK = {"head": "coupled", "tail.0": "untouchable"}


def _in_network(block):
    return lambda: zoo.Network(block())


CASES = {
    "rcan": (
        _in_network(lambda: nn.Sequential(zoo.RCAB(), zoo.RCAB(), zoo.conv(8, 8))),
        {
            **TRUNK,
            "body.0.body.0": "free",
            "body.0.body.2": "coupled",
            "body.0.gate.0": "free",
            "body.0.gate.2": "coupled",
            "body.1.body.0": "free",
            "body.1.body.2": "coupled",
            "body.1.gate.0": "free",
            "body.1.gate.2": "coupled",
            "body.2": "coupled",
        },
    ),
    "imdn": (  # what is split at fixed sizes stays as it is
        _in_network(zoo.IMDB),
        {
            **TRUNK,
            "body.c1": "coupled",
            "body.c2": "coupled",
            "body.c3": "coupled",
            "body.c4": "coupled",
            "body.cca.0": "free",
            "body.cca.2": "coupled",
            "body.c5": "coupled",
        },
    ),
    "rfdn": (
        _in_network(zoo.RFDB),
        {
            **TRUNK,
            "body.d1": "free",
            "body.r1": "coupled",
            "body.d2": "free",
            "body.r2": "coupled",
            "body.last": "free",
            "body.fuse": "coupled",
            "body.e1": "free",
            "body.ef": "coupled",
            "body.e4": "coupled",
            "body.e2": "free",
            "body.e3": "coupled",
        },
    ),
    "nafnet": (
        _in_network(zoo.NAFBlock),
        {
            "head": "untouchable",
            "tail.0": "untouchable",
            "body.c1": "coupled",
            "body.dw": "coupled",
            "body.c3": "untouchable",
            "body.sca.1": "coupled",
            "body.c4": "coupled",
            "body.c5": "untouchable",
        },
    ),
    "rdn": (
        _in_network(zoo.DenseBlock),
        {**TRUNK, **{f"body.convs.{i}": "free" for i in range(3)}, "body.fuse": "coupled"},
    ),
    "srresnet": (
        _in_network(zoo.SRResBlock),
        {**TRUNK, "body.body.0": "free", "body.body.3": "coupled"},
    ),
    "fsrcnn": (
        zoo.FSRCNN,
        {**{f"body.{i}": "free" for i in (0, 2, 4, 6, 8)}, "tail": "untouchable"},
    ),
    "espcn": (zoo.ESPCN, {"a": "free", "b": "free", "c": "untouchable"}),
    "carn-m": (
        _in_network(zoo.Cascade),
        {
            **TRUNK,
            "body.block.0": "coupled",
            "body.block.2": "coupled",
            "body.block.4": "coupled",
            **{f"body.fuse.{i}": "coupled" for i in range(3)},
        },
    ),
    "ecbsr": (
        _in_network(zoo.MultiBranch),
        {
            **TRUNK,
            "body.k3": "coupled",
            "body.k1": "coupled",
            "body.squeeze": "free",
            "body.expand": "coupled",
            "body.edge_in": "coupled",
            "body.edge": "coupled",
        },
    ),
    "convnext": (
        _in_network(zoo.ConvNeXt),
        {
            "head": "untouchable",
            "tail.0": "untouchable",
            "body.dw": "untouchable",
            "body.up": "free",
            "body.down": "untouchable",
        },
    ),
    "unet": (
        zoo.UNet,
        {
            **dict.fromkeys(["e0", "e1", "e2", "u1", "u0", "d1", "d0"], "free"),
            "out": "untouchable",
        },
    ),
    "pad and crop": (zoo.PadAndCrop, {"down": "free", "mid": "free", "up": "untouchable"}),
}


@pytest.mark.parametrize("name", CASES)
def test_groups_and_exact_compaction(name):
    make, expected = CASES[name]
    channels = 1 if name in ("fsrcnn", "espcn") else 3
    scale = {"unet": 1, "pad and crop": 1, "espcn": 3}.get(name, 2)
    network = user_network(
        make, channels=channels, scale=scale, size_multiple=4 if name == "unet" else 1
    )
    with torch.no_grad():
        for tensor in network.module.parameters():
            tensor.add_(0.1 * torch.randn_like(tensor))
        for module in network.module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    grouping = find_groups(network)
    assert {x: g.status for g in grouping.groups for x in g.layers} == expected
    plan = random_plan(grouping, 1, fraction=0.5)
    small = compact(network, plan)
    assert small.card.proof["max_difference"] < 1e-9
    pruned = [x for x, status in expected.items() if status != "untouchable"]
    assert all(small.card.widths[x] < network.card.widths[x] for x in pruned)


@pytest.mark.parametrize(
    ("block", "operation"),
    [
        (zoo.FourierBlock, "_fft_r2c"),
        (zoo.ComputedWeight, "convolution"),
        (zoo.Deformable, "grid_sampler_2d"),
        (zoo.Upsampling, "grid_sampler_2d"),
    ],
)
def test_what_is_not_followed_is_named_and_the_rest_pruned_exactly(block, operation):
    """Checked by hand: the removed filters zeroed in the original, both in float64 on noise."""
    network = user_network(lambda: zoo.Network(nn.Sequential(zoo.RCAB(), block(), zoo.RCAB())))
    grouping = find_groups(network)
    assert (operation, "'body.1'") in {found[:2] for found in grouping.not_followed}
    plan = random_plan(grouping, 1, fraction=0.5)
    small = compact(network, plan)
    assert small.card.widths["body.0.body.0"] < 8
    original, state = network.module.double(), dict(network.module.named_parameters())
    for group in grouping.groups:
        for atom in (group.atoms[index] for index in plan.removed.get(group.name, [])):
            for axis, indices in atom.members.items():
                if axis.role != "in":
                    state[axis.tensor].detach().index_fill_(axis.dim, torch.tensor(indices), 0.0)
    x = torch.rand(1, 3, 14, 17, dtype=torch.float64)  # one that takes one image is among them
    with torch.no_grad():
        wanted, found = original(x), small.module.double()(x)
    assert float((wanted - found).abs().max()) < 1e-12 * max(1.0, float(wanted.abs().max()))


def test_what_depends_on_the_image_s_values_is_refused_by_name():
    with pytest.raises(UnsupportedOperationError, match="'_local_scalar_dense' in 'body'"):
        groups_of(zoo.Network(zoo.DataDependent()))
