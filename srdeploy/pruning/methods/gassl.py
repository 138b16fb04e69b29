"""GASSL: Zhang, Wang, Qin, Fu, "Global Aligned Structured Sparsity Learning for Efficient Image
Super-Resolution", TPAMI 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor

from srdeploy.models.weight_norm import attach_weight_norm, gamma_of, merge_weight_norm
from srdeploy.pruning.methods.regularise import Front
from srdeploy.pruning.methods.trained import TrainedPruner
from srdeploy.pruning.ranking import counts_by_rank


class GASSLPruner(TrainedPruner):
    """The search that tells how much each layer may lose.

    Every gamma carries the same light penalty; afterwards all channels of the network are ranked
    together. Only the share that falls to each group is taken over: :meth:`counts_by_rank` is what
    :class:`~srdeploy.pruning.methods.assl.ASSLPruner` then removes from the *original* weights.
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
        they were applied group by group; each group keeps at least the fraction ``search.keep`` of
        what that would leave it.
        """
        keep = self.options.search.keep
        return counts_by_rank(self.groups, self.scores, self.counts, self._shapes, keep)
