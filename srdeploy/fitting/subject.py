"""A network whose channels are to be chosen, with what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from srdeploy.fitting.uses import Uses, uses_of
from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.pruning.methods.oneshot import default_exclude
from srdeploy.pruning.options import PruneOptions, check_patterns, prunable
from srdeploy.pruning.tracing.groups import Group, Grouping, find_groups


@dataclass(frozen=True)
class Subject:
    """A network whose speed is to be known.

    Attributes:
        network: Folded.
        grouping: Its groups.
        uses: Its layers.
        options: Which layers stay.
    """

    network: Network
    grouping: Grouping
    uses: Uses
    options: PruneOptions

    @property
    def groups(self) -> list[Group]:
        """Those that may lose channels."""
        return prunable(self.grouping, self.options)

    @classmethod
    def of(cls, network: Network, exclude: Sequence[str] = (), published: bool = True) -> Subject:
        """Trace a network.

        Args:
            network: Left as it is.
            exclude: Patterns of layers whose channels stay.
            published: Leave alone what the published runs of its architecture do, too.

        Raises:
            UserError: a pattern that names no layer, or a network without widths to choose.
        """
        network = folded(network)
        grouping = find_groups(network)
        left = dict.fromkeys((*(default_exclude(network) if published else ()), *exclude))
        options = PruneOptions(ratio=0.0, exclude=tuple(left))
        check_patterns(grouping, tuple(exclude))
        return cls(network, grouping, uses_of(network, grouping), options)
