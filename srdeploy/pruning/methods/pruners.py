"""NNI's pruners, taught about atoms.

NNI scores filters and makes masks; layers that are coupled channel by channel share a mask
through its ``dependency_group_id``. Where coupling is not channel by channel (PixelShuffle
blocks, concatenations that are added to something...) NNI cannot express it, and the masks of
those groups are made from NNI's own scores, atom by atom.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from nni.compression.base.setting import PruningSetting
from nni.compression.pruning import FPGMPruner, L1NormPruner, L2NormPruner
from torch import Tensor, nn

from srdeploy.errors import SrdeployError
from srdeploy.pruning.tracing.groups import Group, Grouping

Table = dict[str, dict[str, Tensor]]


class AtomMasks:
    """Mixed into an NNI pruner: masks for groups that are not coupled channel by channel."""

    atom_groups: Mapping[str, tuple[Group, int]] = {}

    def _generate_sparsity(self, metrics: Table) -> Table:
        masks: Table = super()._generate_sparsity(metrics)  # type: ignore[misc]
        for group, count in self.atom_groups.values():
            scores = torch.stack(
                [
                    torch.stack(
                        [
                            metrics[axis.layer]["weight"].flatten()[list(atom.members[axis])].mean()
                            for axis in group.out_axes()
                        ]
                    ).mean()
                    for atom in group.atoms
                ]
            )
            for index in scores.topk(count, largest=False).indices.tolist():
                for axis in group.out_axes():
                    indices = list(group.atoms[index].members[axis])
                    for mask in masks[axis.layer].values():
                        mask.movedim(axis.dim if mask.dim() > 1 else 0, 0)[indices] = 0.0
        return masks


class L1Pruner(AtomMasks, L1NormPruner):
    """NNI's L1 norm pruner (Li et al., ICLR 2017) on atoms."""


class L2Pruner(AtomMasks, L2NormPruner):
    """NNI's L2 norm pruner on atoms."""


class GeometricMedianPruner(AtomMasks, FPGMPruner):
    """NNI's FPGM pruner (He et al., CVPR 2019) on atoms."""


class RandomPruner(AtomMasks, L1NormPruner):
    """Random scores in NNI's machinery: the control experiment."""

    seed = 0

    def _calculate_metrics(self, data: Table) -> Table:
        generator = torch.Generator().manual_seed(self.seed)
        metrics = super()._calculate_metrics(data)
        return {
            layer: {
                target: torch.rand(score.shape, generator=generator)
                for target, score in sorted(targets.items())
            }
            for layer, targets in sorted(metrics.items())
        }


PRUNERS: dict[str, type[AtomMasks]] = {
    "l1": L1Pruner,
    "l2": L2Pruner,
    "fpgm": GeometricMedianPruner,
    "random": RandomPruner,
}


def choose(
    module: nn.Module,
    grouping: Grouping,
    counts: Mapping[str, int],
    criterion: str = "l1",
    seed: int = 0,
) -> dict[str, list[int]]:
    """Let NNI choose which atoms go.

    Args:
        module: Left untouched (NNI wraps a copy).
        grouping: Its groups.
        counts: Group name to number of atoms to remove.
        criterion: A key of :data:`PRUNERS`.
        seed: For "random".

    Returns:
        Group name to removed atom indices.
    """
    groups = [group for group in grouping.groups if group.name in counts]
    if not groups:
        return {}
    copied = copy.deepcopy(module)
    pruner: Any = PRUNERS[criterion](  # type: ignore[call-arg]
        copied, config_list(groups, counts, copied, grouping)
    )
    pruner.atom_groups = unaligned(groups, counts, grouping)
    if criterion == "random":
        pruner.seed = seed
    _, masks = pruner.compress()
    pruner.unwrap_model()
    return {group.name: removed_atoms(group, masks, counts[group.name]) for group in groups}


def config_list(
    groups: list[Group], counts: Mapping[str, int], module: nn.Module, grouping: Grouping
) -> list[dict[str, Any]]:
    """NNI's configuration for removing so many atoms of each group."""
    return [
        entry for group in groups for entry in _config(group, counts[group.name], module, grouping)
    ]


def unaligned(
    groups: list[Group], counts: Mapping[str, int], grouping: Grouping
) -> dict[str, tuple[Group, int]]:
    """The groups that :class:`AtomMasks` has to serve, because NNI cannot."""
    return {g.name: (g, counts[g.name]) for g in groups if not g.aligned(grouping)}


def _config(
    group: Group, count: int, module: nn.Module, grouping: Grouping
) -> list[dict[str, Any]]:
    aligned = group.aligned(grouping)
    entries = []
    for axis in group.out_axes():
        layer = module.get_submodule(axis.layer)
        _register_type(type(layer))
        weight: dict[str, Any] = {
            # NNI truncates ratio * channels; half a channel more keeps rounding out of it.
            "sparse_ratio": (count + 0.5) / len(group.atoms) if aligned else 0.0,
            "granularity": "out_channel" if axis.dim == 0 else "in_channel",
        }
        if aligned and len(group.layers) > 1:
            weight["dependency_group_id"] = group.name
        # In a grouped transposed convolution one index of the weight is several channels.
        bias = getattr(layer, "bias", None)
        has_bias = bias is not None and len(bias) == grouping.sizes[axis]
        settings: dict[str, Any] = {"weight": weight}
        if has_bias:
            align = {"module_name": None, "target_name": "weight", "dims": [axis.dim]}
            settings["bias"] = {"align": align}
        entries.append(
            {
                "op_names": [axis.layer],
                "target_names": ["weight", "bias"] if has_bias else ["weight"],
                "target_settings": settings,
            }
        )
    return entries


def _register_type(kind: type[nn.Module]) -> None:
    """NNI knows layers by class name: tell it about subclasses of the ones it knows."""
    if kind.__name__ not in PruningSetting.registry:
        PruningSetting.register(kind.__name__, PruningSetting.default_setting)


def removed_atoms(group: Group, masks: Table, count: int) -> list[int]:
    """Atoms that NNI's masks switch off; every member must agree.

    Raises:
        SrdeployError: it masked part of an atom, or another number of them.
    """
    removed = []
    for index, atom in enumerate(group.atoms):
        states = set()
        for axis in group.out_axes():
            mask = masks[axis.layer]["weight"]
            alive = mask.movedim(axis.dim, 0).flatten(1).amax(1)
            states |= {bool(alive[i]) for i in atom.members[axis]}
        if len(states) != 1:
            raise SrdeployError(f"NNI masked only part of atom {index} of {group.layers}.")
        if not states.pop():
            removed.append(index)
    if len(removed) != count:
        raise SrdeployError(f"NNI masked {len(removed)} of {group.layers}, not {count}.")
    return removed
