"""How much each group loses, so that all together cost no more than was given.

Every group's removals have a price list: the cheapest channel, the next one, and so on, each by
the error that it leaves in what reads the group (:mod:`srdeploy.reconstruct.choice`), times what
such an error does to the network's output (:mod:`srdeploy.reconstruct.gains`). The removal that
costs least for what it saves comes first, until the budget holds. Prices are taken to add up over
groups, which they do while each is small. They are not where half of everything goes, so no group
may go far below what one ratio for all would leave of it, and how far is tried out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.pruning.options import PruneOptions, check_patterns, prunable, removals
from srdeploy.pruning.tracing.groups import Group, Grouping
from srdeploy.reconstruct.budget import Budget, CostModel
from srdeploy.reconstruct.choice import choose_by_cost, readers_of
from srdeploy.reconstruct.gains import output_gains
from srdeploy.reconstruct.rotate import stream_costs, why_not_linear

FLOORS = (1.0, 0.75, 0.5)
"""Shares of what one ratio for all would leave of a group, below which it may not go; the first is
that ratio itself."""

GRID = 200
"""Ratios that are tried, from 0 on, to find the one for all that is within the budget."""

SAMPLE = 8
"""Calibration inputs on which gains are measured, at most."""


def allocations(
    network: Network,
    grouping: Grouping,
    options: PruneOptions,
    budget: Budget,
    inputs: Sequence[Tensor],
    *,
    rotate: bool = False,
) -> list[dict[str, int]]:
    """Ways to keep within a budget, to be tried out.

    Args:
        network: Left as it is.
        grouping: Its groups.
        options: What stays (``exclude``) and which numbers of channels are wanted (``round_to``);
            the ratio is not used.
        budget: What the network may cost.
        inputs: Network inputs to measure on.
        rotate: Linear streams will be rotated, so their price lists are those of directions.

    Returns:
        For each of :data:`FLOORS`, how many atoms each group loses, by name; groups that lose none
        are left out. The first is one ratio for all.

    Raises:
        UserError: ratios of layers, a pattern that matches no layer, or a budget that cannot be
            met, or needs nothing to be removed.
    """
    if options.layer_ratios:
        raise UserError("Ratios of layers and a budget exclude each other; leave one out.")
    check_patterns(grouping, options.exclude)
    cost = budget.cost_model(network, grouping)
    uniform = uniform_counts(grouping, options, budget, cost)
    groups = [g for g in prunable(grouping, options) if g.name in uniform]
    priced = [g for g in groups if readers_of(network.module, g)]
    prices = price_lists(network, grouping, priced, inputs, rotate)
    found = [uniform]
    for floor in FLOORS[1:]:
        # What no price is known of loses what it would by one ratio for all.
        removed = {g.name: uniform[g.name] for g in groups if g.name not in prices}
        left = {g.name: _steps(g, uniform[g.name], floor, options.round_to) for g in priced}
        while (current := cost(removed)) > budget.amount and any(left.values()):
            name = min(
                (n for n in left if left[n]),
                key=lambda n: _rate(n, left[n][0], removed, prices[n], cost, current),
            )
            removed[name] = left[name].pop(0)
        if current <= budget.amount and removed not in found:
            found.append({g.name: removed[g.name] for g in groups if g.name in removed})
    return found


def uniform_counts(
    grouping: Grouping, options: PruneOptions, budget: Budget, cost: CostModel
) -> dict[str, int]:
    """What each group loses by the smallest ratio for all that is within the budget.

    Raises:
        UserError: the budget needs nothing to be removed, or cannot be met.
    """
    limit, unit, whole = budget.amount, budget.unit, cost({})
    if limit >= whole:
        raise UserError(
            f"The network has {whole:.4g} {unit} as it is, which is within {limit:.4g}: nothing "
            "has to be removed."
        )
    for step in range(1, GRID):
        ratio = options.model_copy(update={"ratio": step / GRID})
        counts = removals(grouping, ratio)
        if counts and cost(counts) <= limit:
            return counts
    raise UserError(
        f"{limit:.4g} {unit} is too little: with hardly any channel left of what can be pruned, "
        f"the network still has {cost(counts):.4g}; give that or more."
    )


def _steps(group: Group, uniform: int, floor: float, round_to: int) -> list[int]:
    """Numbers of atoms that may be removed, the smallest first."""
    total = len(group.atoms)
    least = max(1, math.ceil(floor * (total - uniform)))
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


def price_lists(
    network: Network,
    grouping: Grouping,
    groups: Sequence[Group],
    inputs: Sequence[Tensor],
    rotate: bool,
) -> dict[str, list[float]]:
    """What each removal costs, the cheapest channel of a group first.

    Args:
        network: Left as it is.
        grouping: Its groups.
        groups: Those to be priced; layers of known form read them
            (:func:`srdeploy.reconstruct.choice.readers_of`).
        inputs: Network inputs to measure on.
        rotate: Linear streams will be rotated, so their price lists are those of directions.

    Returns:
        By group, for the first atom that goes, the next one and so on until one is left: the mean
        squared error that it adds to the network's output.
    """
    module = network.module
    readers = dict.fromkeys(layer for g in groups for layer in readers_of(module, g))
    gains = output_gains(module, readers, inputs[:: -(-len(inputs) // SAMPLE)])
    streams = [g for g in groups if rotate and not why_not_linear(network, g)]
    found = stream_costs(network, streams, inputs, gains)
    others = {g.name: len(g.atoms) - 1 for g in groups if g.name not in found}
    _, costs = choose_by_cost(module, grouping, others, inputs, gains)
    return found | costs
