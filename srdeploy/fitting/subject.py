"""A network whose channels are to be chosen, with what is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from srdeploy.fitting.uses import Uses, uses_of
from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.models.resize import layer_widths
from srdeploy.pruning.methods.oneshot import default_exclude
from srdeploy.pruning.options import PruneOptions, check_patterns, prunable
from srdeploy.pruning.tracing.groups import Group, Grouping, find_groups
from srdeploy.pruning.tracing.residual_blocks import ResidualBlock, find_residual_blocks
from srdeploy.reconstruct.budget import channel_shares


@dataclass(frozen=True)
class Subject:
    """A network whose speed is to be known.

    Attributes:
        network: Folded.
        grouping: Its groups.
        uses: Its layers.
        options: Which layers stay.
        blocks: Residual blocks that may go.
    """

    network: Network
    grouping: Grouping
    uses: Uses
    options: PruneOptions
    blocks: tuple[ResidualBlock, ...] = ()

    @property
    def groups(self) -> list[Group]:
        """Those that may lose channels."""
        return prunable(self.grouping, self.options)

    def widths(self, removed: Mapping[str, int]) -> dict[str, int]:
        """Output channels by layer when groups have lost atoms; 0 in blocks that are gone."""
        shares = channel_shares(self.grouping)
        lost = {layer for block in self.blocks if removed.get(block.name) for layer in block.layers}
        found: dict[str, int] = {}
        for name, full in layer_widths(self.network.module).items():
            # A transposed convolution has its outputs second; no dimension else loses what it puts
            # out and not what it reads.
            dims = shares.get(f"{name}.weight", {})
            transposed = isinstance(self.network.module.get_submodule(name), nn.ConvTranspose2d)
            _, by_group = dims.get(1 if transposed else 0, (full, {}))
            gone = sum(each * removed.get(group, 0) for group, each in by_group.items())
            found[name] = 0 if name in lost else round(full - gone)
        return found

    @classmethod
    def of(cls, network: Network, exclude: Sequence[str] = (), published: bool = True) -> Subject:
        """Trace a network.

        Args:
            network: Left as it is.
            exclude: Patterns of layers whose channels stay; a block of which one is a layer stays.
            published: Leave alone what the published runs of its architecture do, too.

        Raises:
            UserError: a pattern that names no layer, or a network without widths to choose.
        """
        network = folded(network)
        grouping = find_groups(network)
        left = dict.fromkeys((*(default_exclude(network) if published else ()), *exclude))
        options = PruneOptions(ratio=0.0, exclude=tuple(left))
        check_patterns(grouping, tuple(exclude))
        blocks = tuple(
            block
            for block in find_residual_blocks(network).blocks
            if not any(fnmatchcase(layer, one) for layer in block.layers for one in left)
        )
        return cls(network, grouping, uses_of(network, grouping, blocks), options, blocks)
