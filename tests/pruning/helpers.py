"""What the tests of pruning share."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.plain_layers import plain_layers
from srdeploy.models.resize import layer_widths
from srdeploy.pruning.plan import Plan, make_plan
from srdeploy.pruning.tracing.groups import Group, Grouping, find_groups

FACTORY = "tests.pruning.helpers:make_current"
_current: list[Callable[[], nn.Module]] = []


def make_current() -> nn.Module:
    """The user's callable: ``--arch tests.pruning.helpers:make_current``."""
    return _current[-1]()


def user_network(make: Callable[[], nn.Module], **facts: Any) -> Network:
    """A network of the user's own, as importing it would describe it."""
    _current[:] = [make]
    torch.manual_seed(0)
    module = make().eval()
    card = {"scale": 1, "channels": 3, "value_range": 1.0, **facts}
    card.setdefault("scales", (card["scale"],))
    return Network(module, Card(arch=FACTORY, widths=layer_widths(module), **card))


def plain_weights(make: Callable[[], nn.Module]) -> nn.Module:
    """What ``make`` makes, with weights that are not computed at every run, as importing does."""
    return plain_layers(make())


def groups_of(module: nn.Module, **facts: Any) -> Grouping:
    torch.manual_seed(0)
    return find_groups(user_network(lambda: module, **facts))


def group_with(grouping: Grouping, layer: str) -> Group:
    """The one group that ``layer`` issues."""
    (found,) = [group for group in grouping.groups if layer in group.layers]
    return found


def out_members(group: Group) -> list[dict[str, tuple[int, ...]]]:
    """Per atom: layer to output channels."""
    return [
        {axis.layer: indices for axis, indices in atom.members.items() if axis.role == "out"}
        for atom in group.atoms
    ]


def changed_by_hand(
    dense: nn.Module, small: nn.Module, plan: Plan, shape: tuple[int, ...] = (2, 3, 9, 14)
) -> float:
    """How far zeroing a plan's filters one by one changes a network, in float64.

    It computes what the small one does, which is asserted.
    """
    before, zeroed, part = (copy.deepcopy(m).eval().double() for m in (dense, dense, small))
    tensors = dict(zeroed.named_parameters()) | dict(zeroed.named_buffers())
    with torch.no_grad():
        for name, dims in plan.zero.items():
            for dim, lost in dims.items():
                for channel in lost:
                    tensors[name].select(dim, channel).zero_()
        x = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        was, wanted, got = (module(x.clone()) for module in (before, zeroed, part))
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-12)
    return float((was - wanted).abs().max())


def random_plan(grouping: Grouping, seed: int, fraction: float | None = None) -> Plan:
    """Remove random atoms of every group that allows it, at least one where there are two."""
    rng = random.Random(seed)
    removed = {}
    for group in grouping.groups:
        total = len(group.atoms)
        if group.status == "untouchable" or total < 2:
            continue
        count = rng.randint(1, total - 1) if fraction is None else max(1, int(fraction * total))
        removed[group.name] = sorted(rng.sample(range(total), count))
    return make_plan(grouping, removed, "random", {})
