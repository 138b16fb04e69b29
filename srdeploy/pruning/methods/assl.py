"""ASSL: Zhang, Wang, Qin, Fu, "Aligned Structured Sparsity Learning for Efficient Image
Super-Resolution", NeurIPS 2021.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from srdeploy.models.weight_norm import attach_weight_norm, gamma_of, merge_weight_norm
from srdeploy.pruning.methods.evaluator import StepEvaluator
from srdeploy.pruning.methods.regularise import Front
from srdeploy.pruning.methods.trained import TrainedPruner
from srdeploy.pruning.tracing.channel_labels import Axis
from srdeploy.pruning.tracing.groups import Group


class ASSLPruner(TrainedPruner):
    """Aligned structured sparsity learning.

    Weights are normalised by filter, and only the norms (gamma) and biases are penalised. Free
    layers choose at once, by gamma, and their penalty grows from the first iteration. Coupled
    layers are first pulled towards the same set by the alignment loss; then every layer chooses
    (the free ones again, as published: their penalty goes on, on what it now falls to), coupled
    layers take one common set, and theirs grows. At the end gamma is merged into the weights.

    A filter's gamma is used by magnitude: only that is the filter's norm, and nothing but the
    optimiser keeps gamma positive.
    """

    p = 2

    def iterations(self) -> int:
        """Alignment, growth and hold; without coupled layers there is nothing to align."""
        return max(front.ramp.total for front in self._plan())

    def begin(self) -> None:
        """Choose in free layers, normalise the weights."""
        self._members: dict[Axis, Tensor] = {}
        self.removed = self.choose(self._free)
        attach_weight_norm(
            self.bound_model,
            [(axis.layer, axis.dim) for g in self.groups for axis in g.out_axes()],
        )
        if self._align_until == 0:
            self.removed |= self.choose(self._coupled)

    def on_iteration(self, iteration: int) -> None:
        """At the end of the alignment, choose in all layers."""
        waiting = any(g.name not in self.removed for g in self._coupled)
        if waiting and iteration >= self._align_until:
            self.removed = self.choose(self.groups)
            self._regulariser = None

    def fronts(self) -> list[Front]:
        """Free layers from the start, coupled ones after the alignment."""
        return [
            Front(front.ramp, self.masks_of(groups))
            for front, groups in zip(self._plan(), (self._free, self._coupled), strict=True)
        ]

    def finish(self) -> None:
        """Make it an ordinary network again."""
        merge_weight_norm(self.bound_model)

    def _plan(self) -> list[Front]:
        penalty = self.options.penalty
        return [Front(penalty.ramp(), {}), Front(penalty.ramp(self._align_until), {})]

    @property
    def _coupled(self) -> list[Group]:
        return [g for cluster in self._clusters if _is_coupled(cluster) for g in cluster]

    @property
    def _free(self) -> list[Group]:
        return [g for cluster in self._clusters if not _is_coupled(cluster) for g in cluster]

    @property
    def _align_until(self) -> int:
        return self.options.alignment.iterations if self._coupled else 0

    def _fuse_preprocess(self, evaluator: StepEvaluator) -> None:
        super()._fuse_preprocess(evaluator)
        if self._align_until:
            evaluator.patch_loss(self._align)

    def _align(self, loss: Tensor, batch: Any) -> Tensor:
        if self.evaluator.iteration >= self._align_until:
            return loss
        total = loss
        for cluster in self._clusters:
            if _is_coupled(cluster):
                gammas = torch.stack([row for group in cluster for row in self._gammas(group)])
                aligned = alignment_loss(gammas, self.counts[cluster[0].name])
                total = total + self.options.alignment.weight * self.unit * aligned
        return total

    def _gammas(self, group: Group) -> list[Tensor]:
        rows = []
        for axis in group.out_axes():
            gamma = gamma_of(self.bound_model, axis.layer).flatten()
            if axis not in self._members:
                places = torch.tensor([a.members[axis] for a in group.atoms])
                self._members[axis] = places.to(gamma.device)
            rows.append(gamma[self._members[axis]].mean(1))
        return rows


def alignment_loss(gammas: Tensor, n_pruned: int) -> Tensor:
    """Structure alignment (ASSL, eq. 6): soft keep-masks of coupled layers should agree.

    ``m = sigmoid(|gamma| - t)`` with t the smallest |gamma| of the layer that is kept, and the
    loss is ``-mean(M M^T)`` over all pairs of layers. As in the published code t is no constant:
    every gamma is pulled up by what the other layers keep there, and t takes the sum of a layer's
    pulls back, so that gammas part instead of all growing alike.

    Args:
        gammas: [layers, atoms].
        n_pruned: Atoms that go, at least 0 and fewer than there are.
    """
    size = gammas.abs()
    threshold = size.kthvalue(n_pruned + 1, dim=1, keepdim=True).values
    soft = torch.sigmoid(size - threshold)
    return -(soft @ soft.T).mean()


def _is_coupled(cluster: list[Group]) -> bool:
    return len(cluster) > 1 or len(cluster[0].out_axes()) > 1
