"""Whole residual blocks that go: which were asked for, and what is left of the network's groups."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from srdeploy.errors import UserError
from srdeploy.models.card import RemovedPart
from srdeploy.models.network import Network
from srdeploy.models.removed_parts import card_without, is_part, remove_parts
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.tracing.groups import Atom, Grouping
from srdeploy.pruning.tracing.residual_blocks import ResidualBlock, find_residual_blocks


def blocks_asked(network: Network, options: PruneOptions) -> list[ResidualBlock]:
    """The blocks that ``remove_blocks`` names; of one inside another the outer one.

    Args:
        network: Folded; nothing is looked for where no block is asked for.
        options: Of the pruning.

    Raises:
        UserError: a pattern that names no block; the sentence lists those there are.
    """
    if not options.remove_blocks:
        return []
    found = find_residual_blocks(network)
    chosen: dict[str, ResidualBlock] = {}
    for pattern in options.remove_blocks:
        named = [block for block in found.blocks if fnmatchcase(block.name, pattern)]
        if not named:
            raise _unknown(pattern, [block.name for block in found.blocks], found.stay)
        chosen |= {block.name: block for block in named}
    return outermost(chosen.values())


def outermost(blocks: Iterable[ResidualBlock]) -> list[ResidualBlock]:
    """The same blocks without those that are inside others of them."""
    chosen = list(blocks)
    inside = {name for block in chosen for name in block.inside}
    return [block for block in chosen if block.name not in inside]


def named(blocks: Sequence[ResidualBlock]) -> dict[str, list[str]]:
    """What plans and cards say of blocks that go; nothing where none does."""
    return {"remove_blocks": [block.name for block in blocks]} if blocks else {}


def parts_of(blocks: Iterable[ResidualBlock]) -> dict[str, RemovedPart]:
    """What goes with some blocks, as plans and cards hold it."""
    return {name: part for block in blocks for name, part in block.parts.items()}


def without_blocks(network: Network, blocks: Sequence[ResidualBlock]) -> Network:
    """A copy of a network without some blocks, none of them inside another; nothing is proven."""
    if not blocks:
        return network
    module, parts = copy.deepcopy(network.module), parts_of(blocks)
    remove_parts(module, parts)
    return replace(network, module=module, card=card_without(network.card, parts))


def grouping_without(grouping: Grouping, blocks: Iterable[ResidualBlock]) -> Grouping:
    """What is left of groups without the tensors of blocks; they keep their names."""
    gone = tuple(parts_of(blocks))

    def stays(tensor: str) -> bool:
        return not any(is_part(tensor, name) for name in gone)

    groups = []
    for group in grouping.groups:
        atoms = [
            Atom({axis: at for axis, at in atom.members.items() if stays(axis.tensor)})
            for atom in group.atoms
        ]
        if all(any(axis.role == "out" for axis in atom.members) for atom in atoms):
            layers = [name for name in group.layers if stays(name)]
            readers = [name for name in group.readers if stays(name)]
            groups.append(replace(group, atoms=atoms, layers=layers, readers=readers))
    return replace(
        grouping,
        groups=groups,
        sizes={axis: size for axis, size in grouping.sizes.items() if stays(axis.tensor)},
        ranks={tensor: rank for tensor, rank in grouping.ranks.items() if stays(tensor)},
    )


def _unknown(pattern: str, names: Sequence[str], stay: Mapping[str, str]) -> UserError:
    reasons = [f"'{name}' has to stay: {why}" for name, why in stay.items()]
    named = [one for one in reasons if fnmatchcase(one.split("'")[1], pattern)]
    if named:
        return UserError(f"--remove-block '{pattern}' cannot be: {named[0]}.")
    if not names:
        why = f" ({reasons[0]})" if reasons else ""
        return UserError(
            f"No residual block of this network can go{why}; leave --remove-block out."
        )
    shown = ", ".join(names[:12]) + (f" ... ({len(names)} blocks)" if names[12:] else "")
    return UserError(f"No residual block matches '{pattern}'; the blocks are: {shown}.")
