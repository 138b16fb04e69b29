"""What a network costs with some of its channels gone.

A model of cost is a function of how many atoms each group has lost. A budget takes any, so that
milliseconds of a device can stand for MACs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from srdeploy.errors import UserError
from srdeploy.models.count import lr_size_720p, macs_by_layer
from srdeploy.models.network import Network
from srdeploy.pruning.tracing.groups import Grouping

CostModel = Callable[[Mapping[str, int]], float]
"""Takes the number of removed atoms by group name (none where it is not named), returns a cost."""


@dataclass(frozen=True)
class Budget:
    """What a network may cost.

    Attributes:
        amount: In units of the model.
        unit: What the model counts, for people.
        model: Makes the model for a network and its groups.
        ways: Choices within the budget that are known already: how many atoms each group loses, by
            name. The nearest to the dense network is taken, the first where no other is clearly
            nearer. Empty: choices are looked for (:mod:`srdeploy.reconstruct.allocate`).
    """

    amount: float
    unit: str
    model: Callable[[Network, Grouping], CostModel]
    ways: tuple[Mapping[str, int], ...] = ()

    def cost_model(self, network: Network, grouping: Grouping) -> CostModel:
        """The model for a network."""
        return self.model(network, grouping)

    def settings(self) -> dict[str, Any]:
        """For the plan and the card."""
        return {"ratio": "auto", "budget": self.amount, "unit": self.unit}


def budget_of(macs: float | None, params: float | None) -> Budget | None:
    """What was asked for; None: nothing.

    Raises:
        UserError: both, or a number that is not positive.
    """
    if macs is not None and params is not None:
        raise UserError("Give one budget, MACs or parameters.")
    if macs is None and params is None:
        return None
    found = (
        Budget(macs, "MACs", macs_720p)
        if macs is not None
        else Budget(params or 0.0, "parameters", parameters)
    )
    if not 0 < found.amount < math.inf:
        raise UserError(f"A budget of {found.amount:g} {found.unit} is impossible; give more.")
    return found


def macs_720p(network: Network, grouping: Grouping) -> CostModel:
    """Multiply-accumulates for a 1280x720 output."""
    return _by_layer(grouping, macs_by_layer(network, *lr_size_720p(network)))


def parameters(network: Network, grouping: Grouping) -> CostModel:
    """Trainable parameters."""
    sizes: dict[str, int] = {}
    for name, tensor in network.module.named_parameters():
        if tensor.requires_grad:
            sizes[name] = tensor.numel()
    return _by_tensor(grouping, sizes)


def _by_layer(grouping: Grouping, costs: Mapping[str, int]) -> CostModel:
    """Costs of layers in proportion to the size of their weights."""
    return _by_tensor(grouping, {f"{name}.weight": cost for name, cost in costs.items()})


def channel_shares(grouping: Grouping) -> dict[str, dict[int, tuple[int, dict[str, float]]]]:
    """What an atom of each group takes of every tensor.

    Returns:
        Of each tensor: dimension to its length, and by group how much of it goes with one atom.
    """
    shares: dict[str, dict[int, tuple[int, dict[str, float]]]] = {}
    lengths = {(axis.tensor, axis.dim): size for axis, size in grouping.sizes.items()}
    for group in grouping.groups:
        taken: dict[tuple[str, int], int] = {}
        for atom in group.atoms:
            for axis, indices in atom.members.items():
                taken[axis.tensor, axis.dim] = taken.get((axis.tensor, axis.dim), 0) + len(indices)
        for (tensor, dim), count in taken.items():
            dims = shares.setdefault(tensor, {})
            _, by_group = dims.setdefault(dim, (lengths[tensor, dim], {}))
            by_group[group.name] = count / len(group.atoms)
    return shares


def _by_tensor(grouping: Grouping, costs: Mapping[str, int]) -> CostModel:
    shares = channel_shares(grouping)

    def cost(removed: Mapping[str, int]) -> float:
        total = 0.0
        for tensor, whole in costs.items():
            left = float(whole)
            for length, by_group in shares.get(tensor, {}).values():
                gone = sum(each * removed.get(name, 0) for name, each in by_group.items())
                left *= 1 - gone / length
            total += left
        return total

    return cost
