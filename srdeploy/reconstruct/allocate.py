"""How much each group loses, so that all together cost no more than was given.

Every group's removals have a price list: the cheapest channel, the next one, and so on, each by
the error that it leaves in what reads the group (:mod:`srdeploy.reconstruct.choice`), times what
such an error does to the network's output (:mod:`srdeploy.reconstruct.gains`). The removal that
costs least for what it saves comes first, until the budget holds. Prices are taken to add up over
groups, which they do while each is small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.prune.groups import Group, Grouping
from srdeploy.prune.options import PruneOptions, check_patterns, prunable
from srdeploy.reconstruct.budget import Budget, CostModel
from srdeploy.reconstruct.choice import choose_by_cost, readers_of
from srdeploy.reconstruct.gains import output_gains
from srdeploy.reconstruct.rotate import stream_costs, why_not_linear

LEAST = 0.1
"""Share of its channels that every group keeps: prices of the very last ones are not to be had."""

SAMPLE = 8
"""Calibration inputs on which gains are measured, at most."""


def allocate(
    network: Network,
    grouping: Grouping,
    options: PruneOptions,
    budget: Budget,
    inputs: Sequence[Tensor],
    *,
    rotate: bool = False,
) -> dict[str, int]:
    """How many atoms each group loses, by name; groups that lose none are left out.

    Args:
        network: Left as it is.
        grouping: Its groups.
        options: What stays (``exclude``) and which numbers of channels are wanted (``round_to``);
            the ratios are not used.
        budget: What the network may cost.
        inputs: Network inputs to measure on.
        rotate: Linear streams will be rotated, so their price lists are those of directions.

    Raises:
        UserError: a pattern that matches no layer, or a budget that cannot be met, or needs
            nothing to be removed.
    """
    check_patterns(grouping, options.exclude)
    groups = [g for g in prunable(grouping, options) if readers_of(network.module, g)]
    removed: dict[str, int] = {}
    cost, limit, unit = budget.cost_model(network, grouping), budget.amount, budget.unit
    whole = cost(removed)
    if limit >= whole:
        raise UserError(
            f"The network has {whole:.4g} {unit} as it is, which is within {limit:.4g}: nothing "
            "has to be removed."
        )
    most = {group.name: _steps(group, options.round_to) for group in groups}
    lowest = cost({name: steps[-1] for name, steps in most.items() if steps})
    if limit < lowest:
        raise UserError(
            f"{limit:.4g} {unit} is too little: with a tenth of the channels of every group that "
            f"can be pruned, the network still has {lowest:.4g}; give that or more."
        )
    prices = _prices(network, grouping, groups, inputs, rotate)
    left = {name: list(steps) for name, steps in most.items() if steps}
    current = whole
    while current > limit:
        name = min(left, key=lambda n: _rate(n, left[n][0], removed, prices[n], cost, current))
        removed[name] = left[name].pop(0)
        if not left[name]:
            del left[name]
        current = cost(removed)
    return {group.name: removed[group.name] for group in groups if group.name in removed}


def _steps(group: Group, round_to: int) -> list[int]:
    """Numbers of atoms that may be removed, the smallest first."""
    total = len(group.atoms)
    least = max(1, math.ceil(LEAST * total))
    unit = max(round_to // math.gcd(round_to, group.block), 1)
    kept = range(total - 1, least - 1, -1)
    return [total - k for k in kept if k % unit == 0]


def _rate(
    name: str,
    count: int,
    removed: Mapping[str, int],
    prices: Sequence[float],
    cost: CostModel,
    current: float,
) -> float:
    """Error for each unit of cost that the next step of a group saves."""
    saved = current - cost({**removed, name: count})
    price = sum(prices[removed.get(name, 0) : count])
    return price / saved if saved > 0 else math.inf


def _prices(
    network: Network,
    grouping: Grouping,
    groups: Sequence[Group],
    inputs: Sequence[Tensor],
    rotate: bool,
) -> dict[str, list[float]]:
    module = network.module
    readers = dict.fromkeys(layer for g in groups for layer in readers_of(module, g))
    gains = output_gains(module, readers, inputs[:: -(-len(inputs) // SAMPLE)])
    streams = [g for g in groups if rotate and not why_not_linear(network, g)]
    found = stream_costs(network, streams, inputs, gains)
    others = {g.name: len(g.atoms) - 1 for g in groups if g.name not in found}
    _, costs = choose_by_cost(module, grouping, others, inputs, gains)
    return found | costs
