"""SRP: Zhang, Wang, Qin, Fu, "Learning Efficient Image Super-Resolution Networks via
Structure-Regularized Pruning", ICLR 2022.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from srdeploy.pruning.methods.regularise import live_parameter
from srdeploy.pruning.methods.trained import TrainedPruner
from srdeploy.pruning.options import group_ratio
from srdeploy.pruning.tracing.groups import Group


class SRPPruner(TrainedPruner):
    """Structure-regularised pruning.

    The channels that go are chosen once, before training: in free layers those of the lowest mean
    |W|, in coupled layers one common set. A growing L2 penalty then empties them (section 3.3).

    The published code draws the common set from an unseeded generator, so that a run cannot be
    repeated; here it depends on ``options.seed`` alone.

    With ``weight_group="channel"`` the same happens where channels are read: the input slices of
    all readers are scored and emptied, after which the channel's own filter computes nothing that
    matters. With ``weight_group="weight"`` single weights of each layer go.

    Attributes:
        loose: Weight name to a mask of single weights that go (``weight_group="weight"`` only).
    """

    loose: dict[str, Tensor]

    def begin(self) -> None:
        """Choose."""
        self.loose = {}
        if self.options.weight_group == "weight":
            self.loose = self._choose_weights()
        else:
            self.removed = self.choose(self.groups)

    def masks_of(self, groups: list[Group]) -> dict[str, Tensor]:
        """Ones on everything chosen."""
        return self.loose or super().masks_of(groups)

    def _layer_scores(self, group: Group, metrics: dict[str, dict[str, Tensor]]) -> Tensor:
        if self.options.weight_group != "channel":
            return super()._layer_scores(group, metrics)
        state = dict(self.bound_model.named_parameters())
        axes = [axis for axis in group.atoms[0].members if axis.role == "in"]
        if not axes:
            return super()._layer_scores(group, metrics)
        rows = []
        for axis in axes:
            slices = state[axis.tensor].detach().abs().movedim(axis.dim, 0).flatten(1).mean(1)
            rows.append(torch.stack([slices[list(a.members[axis])].mean() for a in group.atoms]))
        return torch.stack(rows)

    def _choose_weights(self) -> dict[str, Tensor]:
        parameters = dict(self.bound_model.named_parameters())
        masks = {}
        generator = torch.Generator().manual_seed(self.options.seed)
        for group in self.groups:
            ratio = group_ratio(group, self.options)
            for axis in group.out_axes():
                weight = live_parameter(parameters, axis.tensor)
                assert weight is not None
                flat = weight.detach().abs().flatten()
                if self.options.pick == "rand":
                    flat = torch.rand(len(flat), generator=generator)
                count = min(math.ceil(ratio * len(flat) - 1e-9), len(flat) - 1)
                mask = torch.zeros_like(flat)
                mask[flat.topk(count, largest=self.options.pick == "max").indices] = 1.0
                masks[axis.tensor] = mask.view(weight.shape)
        return masks

    def state_dict(self) -> dict[str, Any]:
        """The choice."""
        loose = {name: mask.bool() for name, mask in self.loose.items()}
        return super().state_dict() | {"loose": loose}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a choice."""
        super().load_state_dict(state)
        self.loose = {name: mask.float() for name, mask in state["loose"].items()}
