"""Driving chosen weights to zero while the rest learns to do without them.

Every tensor that loses something has one coefficient tensor: the penalty where it applies, zero
elsewhere, of the smallest shape that broadcasts (a number per filter). An optimiser step then
costs one fused operation over all layers; only when a penalty grows are coefficients made anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from srdeploy.models.weight_norm import gamma_name
from srdeploy.pruning.methods.schedule import Ramp
from srdeploy.pruning.tracing.groups import Group


@dataclass(frozen=True)
class Front:
    """Weights that share a schedule.

    Attributes:
        ramp: Their penalty.
        masks: Tensor name (as in the plain network's state dict) to 1 where it applies, else 0,
            in a shape that broadcasts to the tensor's.
    """

    ramp: Ramp
    masks: Mapping[str, Tensor]


class Regulariser:
    """Applies the penalties of some fronts to a module's parameters.

    Args:
        module: Being trained; where a layer's weight is normalised its gamma is meant instead.
        fronts: What is penalised and how much.
        unit: Factor on the penalties of :meth:`add_gradients`: the loss's scale.

    Names that are no trainable parameters of the module (buffers, frozen layers) are skipped.
    """

    def __init__(self, module: nn.Module, fronts: Sequence[Front], unit: float = 1.0) -> None:
        self._ramps = [front.ramp for front in fronts]
        self._unit = unit
        parameters = dict(module.named_parameters())
        self._weights: list[Tensor] = []
        self._masks: list[list[tuple[int, Tensor]]] = []
        self._scored: list[int] = []
        for name in dict.fromkeys(name for front in fronts for name in front.masks):
            parameter = live_parameter(parameters, name)
            if parameter is None or not parameter.requires_grad:
                continue
            if parameter.dim() > 1:
                self._scored.append(len(self._weights))
            self._weights.append(parameter)
            self._masks.append(
                [
                    (index, front.masks[name].to(parameter.device, parameter.dtype))
                    for index, front in enumerate(fronts)
                    if name in front.masks
                ]
            )
        self._levels: list[float] | None = None
        self._coefficients: list[Tensor] = []
        self._stays = [1 - mask for mask in self._scaled([1.0] * len(fronts))]

    def level(self, iteration: int) -> float:
        """The highest penalty at work."""
        return max((ramp.penalty(iteration) for ramp in self._ramps), default=0.0)

    @torch.no_grad()
    def add_gradients(self, iteration: int) -> None:
        """``grad += unit * penalty * weight``, wherever there is a gradient."""
        self._update(iteration)
        _add_scaled(self._weights, self._coefficients, self._unit)

    @torch.no_grad()
    def drop_gradients(self) -> None:
        """What is going no longer learns: ``grad = 0`` there."""
        found = [(w.grad, s) for w, s in zip(self._weights, self._stays, strict=True)]
        if grads := [g for g, _ in found if g is not None]:
            torch._foreach_mul_(grads, [s for g, s in found if g is not None])

    @torch.no_grad()
    def fade(self, iteration: int) -> None:
        """Bring the weights from ``1 - penalty`` of the last iteration to that of this one."""
        before = [ramp.penalty(iteration - 1) if iteration else 0.0 for ramp in self._ramps]
        now = [ramp.penalty(iteration) for ramp in self._ramps]
        if not self._weights or (now == before and max(now) < 1):
            return
        gone = [1.0 if b >= 1 else 1 - (1 - n) / (1 - b) for b, n in zip(before, now, strict=True)]
        torch._foreach_mul_(self._weights, [1 - c for c in self._scaled(gone)])

    @torch.no_grad()
    def magnitudes(self) -> dict[str, float]:
        """Mean absolute weight of what is going (``pruned``) and of the rest (``kept``).

        Of the weights themselves, or of gamma where they are normalised; biases are left out.
        """
        gone = stays = torch.zeros(())
        n_gone = n_stays = 0
        for index in self._scored:
            weight = self._weights[index].abs()
            mask = reduce(torch.maximum, [m for _, m in self._masks[index]]).expand_as(weight)
            gone = gone + (weight * mask).sum().cpu()
            stays = stays + (weight * (1 - mask)).sum().cpu()
            n_gone += int(mask.sum())
            n_stays += int((1 - mask).sum())
        return {
            "pruned": float(gone) / max(1, n_gone),
            "kept": float(stays) / max(1, n_stays),
        }

    def _update(self, iteration: int) -> None:
        levels = [ramp.penalty(iteration) for ramp in self._ramps]
        if levels == self._levels:
            return
        self._levels = levels
        self._coefficients = self._scaled(levels)

    def _scaled(self, levels: list[float]) -> list[Tensor]:
        """Per tensor: each front's level where the front applies, else 0."""
        return [
            reduce(torch.maximum, [levels[index] * mask for index, mask in masks])
            for masks in self._masks
        ]


def _add_scaled(weights: list[Tensor], coefficients: list[Tensor], unit: float) -> None:
    found = [(w.grad, w, c) for w, c in zip(weights, coefficients, strict=True)]
    grads = [g for g, _, _ in found if g is not None]
    if len(grads) != len(found):
        weights = [w for g, w, _ in found if g is not None]
        coefficients = [c for g, _, c in found if g is not None]
    if grads:  # coupled layers alone: there is nothing to penalise before they have chosen
        torch._foreach_addcmul_(grads, weights, coefficients, value=unit)


def live_parameter(parameters: Mapping[str, nn.Parameter], name: str) -> nn.Parameter | None:
    """The trainable tensor behind a name of the plain network: itself, or a weight's gamma."""
    if name in parameters:
        return parameters[name]
    layer, _, leaf = name.rpartition(".")
    return parameters.get(gamma_name(layer)) if leaf == "weight" else None


def atom_masks(
    groups: Sequence[Group],
    removed: Mapping[str, Sequence[int]],
    shapes: Mapping[str, Sequence[int]],
    where_read: bool = False,
) -> dict[str, Tensor]:
    """Masks of atoms, each with ones on what belongs to them.

    Args:
        groups: Which to look at.
        removed: Group name to atom indices.
        shapes: Tensor name to its shape.
        where_read: Mark the input channels of the layers that read the atoms, not the filters
            that make them and what goes along with those (biases, normalisations).
    """
    masks: dict[str, Tensor] = {}
    for group in groups:
        for index in removed.get(group.name, ()):
            for axis, indices in group.atoms[index].members.items():
                if (axis.role == "in") != where_read:
                    continue
                shape = shapes[axis.tensor]
                mask = masks.get(axis.tensor, torch.zeros([1] * len(shape)))
                if mask.shape[axis.dim] < shape[axis.dim]:
                    mask = mask.repeat_interleave(shape[axis.dim], axis.dim)
                masks[axis.tensor] = mask.index_fill(axis.dim, torch.tensor(indices), 1.0)
    return masks
