"""GASSL: Zhang, Wang, Qin, Fu, "Global Aligned Structured Sparsity Learning for Efficient Image
Super-Resolution", TPAMI 2023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from srdeploy.models.weight_norm import attach_weight_norm, gamma_of, merge_weight_norm
from srdeploy.prune.groups import Atom
from srdeploy.prune.regularise import Front
from srdeploy.prune.trained import TrainedPruner


class GASSLPruner(TrainedPruner):
    """The search that tells how much each layer may lose.

    Every gamma carries the same light penalty; afterwards all channels of the network are ranked
    together. Only the share that falls to each group is taken over: :meth:`counts_by_rank` is what
    :class:`~srdeploy.prune.assl.ASSLPruner` then removes from the *original* weights.
    """

    p = 2

    def iterations(self) -> int:
        """The light ramp."""
        return self.options.search.ramp().total

    def begin(self) -> None:
        """Normalise the weights; every atom is penalised."""
        self.removed = {g.name: list(range(len(g.atoms))) for g in self.groups}
        attach_weight_norm(
            self.bound_model,
            [(axis.layer, axis.dim) for g in self.groups for axis in g.out_axes()],
        )
        self.scores: dict[str, Tensor] = {}

    def fronts(self) -> list[Front]:
        """All of them, on the search's schedule."""
        return [Front(self.options.search.ramp(), self.masks_of(self.groups))]

    def finish(self) -> None:
        """Take the scores, make it an ordinary network again."""
        for group in self.groups:
            rows = []
            for axis in group.out_axes():
                gamma = gamma_of(self.bound_model, axis.layer).detach().abs().flatten()
                rows.append(torch.stack([gamma[list(a.members[axis])].mean() for a in group.atoms]))
            self.scores[group.name] = torch.stack(rows).mean(0).cpu()
        self.removed = {}
        merge_weight_norm(self.bound_model)

    def counts_by_rank(self) -> dict[str, int]:
        """Atoms to remove by group name, the lowest mean gammas of the whole network first.

        Removal goes on until the network has as few weights as the options' ratios would leave if
        they were applied group by group, so that sizes compare; each group keeps at least the
        fraction ``search.keep`` of what that would leave it.
        """
        keep = self.options.search.keep
        room = {
            g.name: len(g.atoms) - math.ceil(keep * (len(g.atoms) - self.counts[g.name]) - 1e-9)
            for g in self.groups
        }
        wanted = _Size(self._shapes)
        for group in self.groups:
            for atom in group.atoms[: self.counts[group.name]]:
                wanted.remove(atom)
        ranked = sorted(
            (float(score), g.name, index)
            for g in self.groups
            for index, score in enumerate(self.scores[g.name])
        )
        groups = {g.name: g for g in self.groups}
        counts = dict.fromkeys(room, 0)
        size = _Size(self._shapes)
        for _, name, index in ranked:
            if size.total() <= wanted.total():
                break
            if counts[name] < room[name]:
                counts[name] += 1
                size.remove(groups[name].atoms[index])
        return {name: count for name, count in counts.items() if count}


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
