"""One-shot pruning: score once, choose once (Li et al., ICLR 2017, and its relatives)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from srdeploy.errors import SrdeployError
from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.models.registry import architecture_of
from srdeploy.pruning.depth import blocks_asked, grouping_without, named, without_blocks
from srdeploy.pruning.methods.table import METHODS, SCORED, Method
from srdeploy.pruning.options import PruneOptions, nothing_to_prune, removals
from srdeploy.pruning.plan import Plan, make_plan
from srdeploy.pruning.tracing.groups import Grouping, find_groups
from srdeploy.util.plugins import code_of


def default_exclude(network: Network) -> tuple[str, ...]:
    """Layers that the published runs of this architecture leave alone."""
    return architecture_of(network.card).leave_alone


def plan_oneshot(
    network: Network,
    options: PruneOptions,
    grouping: Grouping | None = None,
    method: Method | None = None,
) -> Plan:
    """Choose channels by scores: NNI's, or a method's own.

    Args:
        network: Left as it is.
        options: What to remove; a method with scores of its own does not use ``criterion``.
        grouping: The network's groups, where they are known.
        method: A ``scored`` row of :data:`~srdeploy.pruning.methods.table.METHODS`; None: the
            plainest.

    Raises:
        UserError: nothing would be removed (everything is untouchable or excluded).
        SrdeployError: the method chose other channels than it was asked for.
    """
    from srdeploy.pruning.methods.pruners import (
        choose,  # NNI is imported where something is pruned by it
    )

    network = folded(network)
    grouping = grouping or find_groups(network)
    blocks = blocks_asked(network, options)
    network, grouping = without_blocks(network, blocks), grouping_without(grouping, blocks)
    counts = removals(grouping, options)
    if not counts and not blocks:
        raise nothing_to_prune(grouping, options)
    method = method or METHODS[SCORED]
    settings = options.model_dump(mode="json") | named(blocks)
    if method.chooses is None:
        removed = choose(network.module, grouping, counts, options.criterion, options.seed)
        return make_plan(grouping, removed, options.criterion, settings, blocks)
    chosen = code_of(method.chooses)(network, grouping, counts, options)
    settings.pop("criterion")
    checked = _checked(chosen, grouping, counts, method)
    return make_plan(grouping, checked, method.name, settings, blocks)


def _checked(
    chosen: Mapping[str, Sequence[int]],
    grouping: Grouping,
    counts: Mapping[str, int],
    method: Method,
) -> dict[str, list[int]]:
    """The atoms that a method chose, in ascending order: as many as go of each group."""
    atoms = {group.name: range(len(group.atoms)) for group in grouping.groups}
    for name in {*counts, *chosen}:
        count, found = counts.get(name, 0), chosen.get(name, ())
        if len({*found} & {*atoms.get(name, ())}) != count or len(found) != count:
            raise SrdeployError(
                f"The method {method.name} was to choose {count} of the {len(atoms.get(name, ()))} "
                f"atoms of group {name}, and gave {len(found)} indices, not all of them different "
                "atoms; nothing is removed. Please report it to its author."
            )
    return {name: sorted(map(int, found)) for name, found in chosen.items()}
