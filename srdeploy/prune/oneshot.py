"""One-shot pruning: score once, choose once (Li et al., ICLR 2017, and its relatives)."""

from __future__ import annotations

from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES
from srdeploy.prune.groups import Grouping, find_groups
from srdeploy.prune.options import PruneOptions, nothing_to_prune, removals
from srdeploy.prune.plan import Plan, make_plan
from srdeploy.prune.pruners import choose


def default_exclude(network: Network) -> tuple[str, ...]:
    """Layers that the published runs of this architecture leave alone."""
    row = ARCHITECTURES.get(network.card.arch)
    return row.leave_alone if row is not None else ()


def plan_oneshot(network: Network, options: PruneOptions, grouping: Grouping | None = None) -> Plan:
    """Choose channels by NNI's scores.

    Raises:
        UserError: nothing would be removed (everything is untouchable or excluded).
    """
    grouping = grouping or find_groups(network)
    counts = removals(grouping, options)
    if not counts:
        raise nothing_to_prune(grouping, options)
    removed = choose(network.module, grouping, counts, options.criterion, options.seed)
    return make_plan(grouping, removed, options.criterion, options.model_dump(mode="json"))
