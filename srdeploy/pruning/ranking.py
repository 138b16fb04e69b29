"""How many channels each group loses where all channels of a network are ranked together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from srdeploy.pruning.tracing.groups import Atom, Group


def counts_by_rank(
    groups: Sequence[Group],
    scores: Mapping[str, Tensor],
    counts: Mapping[str, int],
    shapes: Mapping[str, Sequence[int]],
    keep: float = 0.0,
) -> dict[str, int]:
    """Atoms to remove by group name, the lowest scores of the whole network first.

    Removal goes on until the network has as few weights as ``counts`` would leave, so that sizes
    compare.

    Args:
        groups: Those that may lose atoms.
        scores: Of each group's atoms, by group name; comparable between groups.
        counts: Atoms that each group would lose by its own ratio.
        shapes: Of the network's tensors, by name.
        keep: Each group keeps at least this fraction of what ``counts`` would leave it, and at
            least one atom.
    """
    room = {}
    for group in groups:
        total = len(group.atoms)
        room[group.name] = total - max(1, math.ceil(keep * (total - counts[group.name]) - 1e-9))
    wanted = _Size(shapes)
    for group in groups:
        for atom in group.atoms[: counts[group.name]]:
            wanted.remove(atom)
    ranked = sorted(
        (float(score), group.name, index)
        for group in groups
        for index, score in enumerate(scores[group.name])
    )
    named = {group.name: group for group in groups}
    found = dict.fromkeys(room, 0)
    size = _Size(shapes)
    for _, name, index in ranked:
        if size.total() <= wanted.total():
            break
        if found[name] < room[name]:
            found[name] += 1
            size.remove(named[name].atoms[index])
    return {name: count for name, count in found.items() if count}


def mean_weights(module: nn.Module, group: Group) -> Tensor:
    """Mean |W| of each atom over the layers that compute it, ``[atoms]``."""
    parameters = dict(module.named_parameters())
    rows = []
    for axis in group.out_axes():
        filters = parameters[axis.tensor].detach().abs().movedim(axis.dim, 0).flatten(1).mean(1)
        rows.append(torch.stack([filters[list(a.members[axis])].mean() for a in group.atoms]))
    return torch.stack(rows).mean(0)


class _Size:
    """Numbers in a network's tensors while atoms are taken out."""

    def __init__(self, shapes: Mapping[str, Sequence[int]]) -> None:
        self._shapes = {name: list(shape) for name, shape in shapes.items()}
        self._total = sum(math.prod(shape) for shape in shapes.values())

    def remove(self, atom: Atom) -> None:
        """Take an atom's channels out of every tensor."""
        for axis, indices in atom.members.items():
            shape = self._shapes[axis.tensor]
            self._total -= math.prod(shape)
            shape[axis.dim] -= len(indices)
            self._total += math.prod(shape)

    def total(self) -> int:
        """How many are left."""
        return self._total
