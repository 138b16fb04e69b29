"""Groups of coupled channels: who is tied to whom, and why.

An *atom* is a set of channels, across layers, that can only be removed together. A *group* is
the list of atoms that run through the same layers: the thing that has a width.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.pruning.tracing.channel_labels import Axis
from srdeploy.pruning.tracing.everywhere import trace_everywhere
from srdeploy.pruning.tracing.trace import Trace


@dataclass(frozen=True)
class Atom:
    """Channels that live or die together.

    Attributes:
        members: Indices on every axis they occupy, readers' input axes included.
    """

    members: dict[Axis, tuple[int, ...]]


@dataclass
class Group:
    """Atoms through the same layers.

    Attributes:
        name: For print-outs: g1, g2...
        status: "free" (one layer), "coupled" (several, or in blocks) or "untouchable".
        why: Reasons in words: for free groups who reads them, for coupled ones what ties them.
        layers: The layers whose output channels these are, in the order they run.
        readers: The layers that read them.
        atoms: In the order of the first layer's channels.
    """

    name: str
    status: str
    why: list[str]
    layers: list[str]
    readers: list[str]
    atoms: list[Atom] = field(repr=False)

    @property
    def block(self) -> int:
        """Most channels of one layer in one atom: r^2 before a PixelShuffle(r), usually 1."""
        return max(
            len(indices)
            for atom in self.atoms
            for axis, indices in atom.members.items()
            if axis.role == "out"
        )

    def out_axes(self) -> list[Axis]:
        """The producing axes."""
        return [axis for axis in self.atoms[0].members if axis.role == "out"]

    def aligned(self, grouping: Grouping) -> bool:
        """Whether one mask serves all layers.

        Atom i must be exactly channel i of every layer, and their weights must be laid out alike
        (a linear layer or a transposed convolution is not like a convolution).
        """
        axes = self.out_axes()
        layouts = {(axis.dim, grouping.ranks[axis.tensor]) for axis in axes}
        return len(layouts) == 1 and all(
            len(self.atoms) == grouping.sizes[axis]
            and all(atom.members[axis] == (i,) for i, atom in enumerate(self.atoms))
            for axis in axes
        )

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "name": self.name,
            "status": self.status,
            "channels": len(self.atoms) * self.block,
            "atoms": len(self.atoms),
            "block": self.block,
            "layers": self.layers,
            "readers": self.readers,
            "why": self.why,
        }

    def __str__(self) -> str:
        blocks = f" in blocks of {self.block}" if self.block > 1 else ""
        head = f"{self.name}: {self.status}, {len(self.atoms) * self.block} channels{blocks}"
        return "\n".join(
            [
                head,
                f"  layers:  {_shorten(self.layers)}",
                f"  read by: {_shorten(self.readers)}",
                *(f"  why:     {reason}" for reason in _merge_places(self.why)),
            ]
        )


@dataclass(frozen=True)
class Grouping:
    """All groups of a network.

    Attributes:
        groups: In the order their first layers run.
        sizes: Length of every axis.
        ranks: Number of dimensions of every tensor that has axes.
        not_followed: Operation, layer and reason of everything that no rule follows: all channels
            that it reads are kept.
    """

    groups: list[Group]
    sizes: dict[Axis, int]
    ranks: dict[str, int]
    not_followed: tuple[tuple[str, str, str], ...] = ()

    def layer_names(self) -> list[str]:
        """Every layer that issues channels."""
        return list(dict.fromkeys(layer for group in self.groups for layer in group.layers))


def find_groups(network: Network) -> Grouping:
    """Trace a network at several sizes, collect its groups, and try them out.

    Blocks that are expanded for training are folded first.

    Raises:
        UnsupportedOperationError: what it does depends on the size of the image, or may depend on
            its values.
        UserError: it does not run on an image, or does not return one.
    """
    from srdeploy.pruning.tracing.trial import (
        try_out,  # it makes plans, which know of groups
    )

    network = folded(network)
    return try_out(network, trace_everywhere(network))


def collect(traced: Trace, module: nn.Module, counts: Collection[Axis] = ()) -> Grouping:
    """Atoms from the traced sets, then groups from the atoms.

    Args:
        traced: What was found.
        module: The network.
        counts: Numbers of its code that are to follow the number of channels.
    """
    axes, sets = traced.axes | {axis: traced.counts[axis][0] for axis in counts}, traced.sets
    if any(len(traced.counts[axis]) > 1 for axis in counts):
        sets = copy.deepcopy(sets)
        for axis in counts:
            first, *others = traced.counts[axis]
            for nodes in others:
                sets.join(first, nodes, f"counted by the same number in '{axis.layer}'")
    sizes = {axis: len(nodes) for axis, nodes in axes.items()}
    members: dict[int, dict[Axis, tuple[int, ...]]] = {}
    for axis, nodes in axes.items():
        indices: dict[int, list[int]] = {}
        for index, root in enumerate(sets.find(nodes).tolist()):
            indices.setdefault(root, []).append(index)
        for root, found_there in indices.items():
            members.setdefault(root, {})[axis] = tuple(found_there)
    frozen, joins = sets.frozen(), sets.joins()
    found: dict[tuple[Any, ...], list[int]] = {}
    for root, places in members.items():
        producers = tuple(axis for axis in places if axis.role == "out")
        if producers:
            reason = frozen.get(root) or _why_indispensable(places, sizes)
            counts = tuple(axis for axis in places if axis.role == "count")  # one stays of each
            found.setdefault((producers, reason, counts), []).append(root)
    groups: list[Group] = []
    order = {axis: position for position, axis in enumerate(axes)}
    for (producers, reason, _), roots in sorted(found.items(), key=lambda f: order[f[0][0][0]]):
        atoms = [Atom(members[root]) for root in roots]
        readers = _layers(a for atom in atoms for a in atom.members if a.role == "in")
        ties = list(dict.fromkeys(why for root in roots for why in joins.get(root, [])))
        if reason is None and (unscored := _not_layers(producers, module)):
            reason = f"'{unscored}' is not the weight of a layer, so it cannot be scored"
        elif reason is None and len(atoms) == 1:
            reason = "it is the only one of its kind, and one stays"
        if reason is not None:
            status, why = "untouchable", [reason]
        elif len(producers) == 1 and all(len(atom.members[producers[0]]) == 1 for atom in atoms):
            status, why = "free", [f"read only by {_shorten(readers)}"]
        else:
            status, why = "coupled", ties
        groups.append(Group(f"g{len(groups) + 1}", status, why, _layers(producers), readers, atoms))
    stored = dict(module.named_parameters()) | dict(module.named_buffers())
    ranks = {axis.tensor: stored[axis.tensor].dim() for axis in sizes if axis.role != "count"}
    return Grouping(groups, sizes, ranks, tuple(traced.not_followed))


def tell_not_followed(not_followed: Iterable[tuple[str, str, str]]) -> list[str]:
    """One line per operation and reason: "bmm in 'a', 'b' and 3 more: no rule for it"."""
    places: dict[tuple[str, str], list[str]] = {}
    for operation, place, why in not_followed:
        places.setdefault((operation, why), []).append(place)
    return [
        f"what {operation} reads is kept in {_shorten_places(found)}: {why}"
        for (operation, why), found in places.items()
    ]


def _why_indispensable(places: dict[Axis, tuple[int, ...]], sizes: dict[Axis, int]) -> str | None:
    """Channels that are all that some axis has can never go."""
    full = [axis for axis, indices in places.items() if len(indices) == sizes[axis]]
    if not full:
        return None
    if any(sizes[axis] > 1 for axis in full):
        return "all of its channels are tied into one"
    return "it has one channel"


def _layers(axes: Iterable[Axis]) -> list[str]:
    return list(dict.fromkeys(axis.layer for axis in axes))


def _not_layers(producers: tuple[Axis, ...], module: nn.Module) -> str | None:
    """The first producing tensor that is not the ``weight`` of a convolution or linear layer."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    for axis in producers:
        owner, _, leaf = axis.tensor.rpartition(".")
        if leaf != "weight" or not isinstance(module.get_submodule(owner), kinds):
            return axis.tensor
    return None


def _shorten(names: list[str], limit: int = 6) -> str:
    if len(names) <= limit:
        return ", ".join(names) or "nothing"
    return f"{', '.join(names[: limit - 1])} ... {names[-1]} ({len(names)} layers)"


def _merge_places(reasons: list[str]) -> list[str]:
    """One line per kind of reason: "added together in 'body.0', 'body.1' and 15 more"."""
    places: dict[str, list[str]] = {}
    for reason in reasons:
        what, separator, place = reason.partition(" in ")
        places.setdefault(what, []).append(place if separator else "")
    lines = []
    for what, found in places.items():
        named = [place for place in found if place]
        if not named:
            lines.append(what)
            continue
        lines.append(f"{what} in {_shorten_places(named)}")
    return lines


def _shorten_places(named: list[str], limit: int = 3) -> str:
    more = f" and {len(named) - limit} more" if len(named) > limit else ""
    return f"{', '.join(named[:limit])}{more}"
