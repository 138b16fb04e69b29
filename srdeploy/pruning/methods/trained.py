"""What SRP, ASSL and GASSL share: an NNI pruner that acts while the network trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from nni.compression.pruning import L1NormPruner
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.pruning.methods.evaluator import StepEvaluator
from srdeploy.pruning.methods.pruners import AtomMasks, Table, config_list, removed_atoms, unaligned
from srdeploy.pruning.methods.regularise import Front, Regulariser, atom_masks
from srdeploy.pruning.methods.training import TrainedOptions, clusters
from srdeploy.pruning.options import excluded_by
from srdeploy.pruning.tracing.groups import Group, Grouping


class TrainedPruner(AtomMasks, L1NormPruner):
    """Base of the training-aware pruners.

    ``compress()`` trains the module in place through the evaluator, penalising what is to go, and
    leaves it dense: what goes is near zero and named by :attr:`removed`. NNI's wrappers score and
    keep masks; during training the module runs without them, at its own speed.

    Args:
        model: Trained in place.
        grouping: Its groups.
        counts: Group name to number of atoms that go
            (:func:`~srdeploy.pruning.methods.training.check_fit`).
        options: The method's settings.
        evaluator: Runs the training.
        unit: Factor on penalties that act through gradients: the network's value range over the
            255 of the papers, whose losses are that much larger.
        chosen: Group name to the atoms that go, where that is decided already.

    Attributes:
        removed: Group name to the atoms chosen so far.
    """

    def __init__(
        self,
        model: nn.Module,
        grouping: Grouping,
        counts: Mapping[str, int],
        options: TrainedOptions,
        evaluator: StepEvaluator,
        unit: float = 1.0,
        chosen: Mapping[str, list[int]] | None = None,
    ) -> None:
        self.groups = [group for group in grouping.groups if group.name in counts]
        self.grouping, self.counts, self.options, self.unit = grouping, counts, options, unit
        self.removed: dict[str, list[int]] = {}
        self._chosen = chosen
        self.atom_groups = unaligned(self.groups, counts, grouping)
        super().__init__(model, config_list(self.groups, counts, model, grouping), evaluator)
        self.unwrap_model()
        self._clusters = self._make_clusters()
        self._regulariser: Regulariser | None = None
        self._shapes = {name: list(t.shape) for name, t in model.state_dict().items()}

    # What a method decides.

    def iterations(self) -> int:
        """Length of the training."""
        return self.options.penalty.ramp().total

    def begin(self) -> None:
        """Before the first iteration, on the untouched module."""
        raise NotImplementedError

    def fronts(self) -> list[Front]:
        """What is penalised now."""
        return [Front(self.options.penalty.ramp(), self.masks_of(self.groups))]

    def on_iteration(self, iteration: int) -> None:
        """Before the optimiser's step of an iteration."""

    def finish(self) -> None:
        """After the last iteration."""

    # Choosing.

    def choose(self, groups: list[Group]) -> dict[str, list[int]]:
        """The atoms of these groups that go, by the weights as they are now or as was decided."""
        if self._chosen is not None:
            return {g.name: list(self._chosen[g.name]) for g in groups}
        masks = self.generate_masks()
        return {g.name: removed_atoms(g, masks, self.counts[g.name]) for g in groups}

    def masks_of(self, groups: list[Group]) -> dict[str, Tensor]:
        """Ones on the chosen atoms of these groups."""
        where_read = self.options.weight_group == "channel"
        return atom_masks(groups, self.removed, self._shapes, where_read)

    def _collect_data(self) -> Table:
        layers = dict.fromkeys(axis.layer for g in self.groups for axis in g.out_axes())
        return {
            name: {"weight": self.bound_model.get_submodule(name).weight.detach()}
            for name in layers
        }

    def _calculate_metrics(self, data: Table) -> Table:
        metrics = super()._calculate_metrics(data)
        if self.p == 1:
            # NNI sums over a filter; the mean lets layers of different fan-in be compared.
            for name, targets in data.items():
                score = metrics[name]["weight"]
                metrics[name]["weight"] = score * (score.numel() / targets["weight"].numel())
        return self._agree(metrics)

    def _agree(self, metrics: Table) -> Table:
        """Give atoms of groups that share one set the same score in every layer."""
        generator = torch.Generator().manual_seed(self.options.seed)
        for cluster in self._clusters:
            single = len(cluster) == 1 and len(cluster[0].out_axes()) == 1
            drawn, highest = (self.options.pick == pick for pick in ("rand", "max"))
            if single and self.options.weight_group != "channel" and not (drawn or highest):
                continue
            scores = [self._layer_scores(group, metrics) for group in cluster]
            agreement = "random" if drawn else "joint" if single else self.options.agreement
            if agreement == "random":
                common = torch.rand(len(cluster[0].atoms), generator=generator)
            elif agreement == "first-layer":
                common = scores[0][0]
            else:
                common = torch.cat(scores).mean(0)
            if highest:
                common = common.max() - common
            for group in cluster:
                self._spread(common, group, metrics)
        return metrics

    def _spread(self, scores: Tensor, group: Group, metrics: Table) -> None:
        for axis in group.out_axes():
            old = metrics[axis.layer]["weight"]
            flat = old.flatten().clone()
            for score, atom in zip(scores.tolist(), group.atoms, strict=True):
                flat[list(atom.members[axis])] = score
            metrics[axis.layer]["weight"] = flat.view(old.shape)

    def _layer_scores(self, group: Group, metrics: Table) -> Tensor:
        """[layers, atoms], layers in the order they run."""
        rows = []
        for axis in group.out_axes():
            flat = metrics[axis.layer]["weight"].flatten()
            rows.append(torch.stack([flat[list(a.members[axis])].mean() for a in group.atoms]))
        return torch.stack(rows)

    def _make_clusters(self) -> list[list[Group]]:
        tied = clusters(self.grouping, self.options)
        tied = [[g for g in cluster if g.name in self.counts] for cluster in tied]
        inside = {g.name for cluster in tied for g in cluster}
        alone = [[g] for g in self.groups if g.name not in inside]
        return [cluster for cluster in tied if cluster] + alone

    # NNI's course of events.

    def unwrap_model(self) -> None:
        """Take NNI's wrappers off, and the ``forward`` each leaves behind on its layer."""
        super().unwrap_model()
        for wrapper in self._module_wrappers.values():
            wrapper.module.__dict__.pop("forward", None)

    def _get_param_names_map(self) -> dict[str, str]:
        return {name: name for name, _ in self.bound_model.named_parameters()}

    def _single_compress(self, max_steps: int | None, max_epochs: int | None) -> None:
        self._fusion_compress(max_steps or self.iterations(), max_epochs)

    def _fuse_preprocess(self, evaluator: StepEvaluator) -> None:
        self.begin()
        evaluator.remember(self)
        evaluator.report(self._figures)
        evaluator.patch_optimizer_step([self._before_step], [self._after_step])

    def _fuse_postprocess(self, evaluator: StepEvaluator) -> None:
        self.finish()
        self.update_masks(self._nni_masks())

    def _nni_masks(self) -> Table:
        ones = atom_masks(self.groups, self.removed, self._shapes)
        return {
            layer: {
                target: (1 - ones[f"{layer}.{target}"]).expand(self._shapes[f"{layer}.{target}"])
                for target in spaces
                if f"{layer}.{target}" in ones
            }
            for layer, spaces in self._target_spaces.items()
        }

    def _before_step(self) -> None:
        iteration = self.evaluator.iteration
        self.on_iteration(iteration)
        if self.options.freeze_skipped:
            self._freeze_skipped()
        if not self.options.penalty.apply:
            return
        if self.options.penalty.through == "adam":
            self._current().add_gradients(iteration)
        else:
            self._current().drop_gradients()

    def _after_step(self) -> None:
        if self.options.penalty.apply and self.options.penalty.through == "decoupled":
            self._current().fade(self.evaluator.iteration)

    def _current(self) -> Regulariser:
        # Made at the first step, when the module is on its device, and when the choice changes.
        if self._regulariser is None:
            self._regulariser = Regulariser(self.bound_model, self.fronts(), self.unit)
        return self._regulariser

    def _freeze_skipped(self) -> None:
        for group in self.grouping.groups:
            if excluded_by(group, self.options) is not None:
                for name in group.layers:
                    for parameter in self.bound_model.get_submodule(name).parameters():
                        parameter.grad = None

    def _figures(self) -> dict[str, float]:
        regulariser = self._current()
        level = regulariser.level(self.evaluator.iteration)
        return {"penalty": level, **regulariser.magnitudes()}

    def state_dict(self) -> dict[str, Any]:
        """The choice, and the options it was made with."""
        return {"options": self.options.decisive(), "removed": self.removed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a choice made before a kill.

        Raises:
            UserError: the run was started with other options.
        """
        old, new = state["options"], self.options.decisive()
        if old != new:
            changed = [k for k in sorted(old | new) if old.get(k) != new.get(k)]
            named = ", ".join(f"{k}: was {old.get(k)}, is {new.get(k)}" for k in changed)
            raise UserError(
                f"The pruning run was started with other options ({named}); undo the change to "
                "resume it, choose another run folder, or start over with --fresh."
            )
        self.removed = {name: list(indices) for name, indices in state["removed"].items()}
        self._regulariser = None
