"""How much of a network no plan can remove."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from srdeploy.errors import SrdeployError
from srdeploy.models.count import lr_size_720p, macs_by_module
from srdeploy.models.network import Network
from srdeploy.pruning.options import PruneOptions, removals
from srdeploy.pruning.plan import cut, make_plan
from srdeploy.pruning.tracing.groups import Grouping, tell_not_followed

NOTABLE = 0.01
"""Share of the MACs from which on it is worth a sentence."""


@dataclass(frozen=True)
class Unprunable:
    """What stays whatever the ratio is.

    Attributes:
        channels: Output channels of untouchable groups, and
        all_channels: of all groups.
        macs_share: Of layers that can neither lose output channels nor channels that they read,
            and of products of activations that cost the same whatever is removed, 0..1.
        not_followed: Operation, layer and reason of everything that no rule follows.
    """

    channels: int
    all_channels: int
    macs_share: float
    not_followed: tuple[tuple[str, str, str], ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "channels": self.channels,
            "all_channels": self.all_channels,
            "macs_share": round(self.macs_share, 4),
            "not_followed": [
                {"operation": operation, "layer": layer.strip("'"), "why": why}
                for operation, layer, why in self.not_followed
            ],
        }

    def __str__(self) -> str:
        """One sentence, and what was not followed; empty where hardly anything stays."""
        if self.macs_share < NOTABLE and not self.not_followed:
            return ""
        return "\n".join(
            [
                f"{self.channels} of {self.all_channels} channels and {self.macs_share:.0%} of the "
                "MACs cannot be pruned (`srdeploy inspect FILE --groups` says why)",
                *(f"  {line}" for line in tell_not_followed(self.not_followed)),
            ]
        )


def unprunable_of(network: Network, grouping: Grouping) -> Unprunable:
    """Count what stays of a network.

    Args:
        network: It is run without numbers (on torch's meta device).
        grouping: Its groups.
    """
    widths = {group.name: len(group.atoms) * group.block for group in grouping.groups}
    free = [group for group in grouping.groups if group.status != "untouchable"]
    touched = {axis.layer for group in free for atom in group.atoms for axis in atom.members}
    size = lr_size_720p(network)
    costs = macs_by_module(network, *size)
    stay = {name: cost for name, cost in costs.items() if cost and name not in touched}
    weighed = {axis.layer for axis in grouping.sizes}
    if free and any(name not in weighed for name in stay):  # products, inside heads, say
        with suppress(SrdeployError, RuntimeError):  # halves need not fit the network's code
            less = macs_by_module(_halved(network, grouping), *size)
            stay = {name: cost for name, cost in stay.items() if less[name] >= cost}
    return Unprunable(
        sum(widths.values()) - sum(widths[group.name] for group in free),
        sum(widths.values()),
        sum(stay.values()) / (sum(costs.values()) or 1),
        grouping.not_followed,
    )


def _halved(network: Network, grouping: Grouping) -> Network:
    """The network without half of the channels of every group that can lose any."""
    counts = removals(grouping, PruneOptions(ratio=0.5))
    removed = {name: [*range(count)] for name, count in counts.items()}
    plan = make_plan(grouping, removed, "none", {})
    return replace(network, module=cut(network.module, plan).eval())
