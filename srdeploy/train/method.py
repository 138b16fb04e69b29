"""A whole pruning method: choose, regularise, remove, prove, fine-tune; resumable anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import model_validator
from torch import Tensor, nn

from srdeploy.compacting.run import Measure, PruneReport, report_on
from srdeploy.compacting.surgery import compact
from srdeploy.data.builtin import BUILTIN
from srdeploy.models.card import Card
from srdeploy.models.dense import with_dense_noted
from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.models.registry import architecture_of
from srdeploy.pruning.methods.training import BY_COST, TrainedOptions, check_fit
from srdeploy.pruning.plan import Plan, make_plan
from srdeploy.pruning.ranking import counts_by_rank, mean_weights
from srdeploy.pruning.tracing.groups import Grouping, find_groups
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.run import choose_start, refit_to
from srdeploy.train.hooks import StepHook
from srdeploy.train.loop import train
from srdeploy.train.recipe import TrainRecipe
from srdeploy.util.strict import Strict, merged, parse, read_yaml

if TYPE_CHECKING:
    from srdeploy.pruning.methods.trained import TrainedPruner


class PruneRecipe(Strict):
    """A pruning method with the training it needs, in one YAML file.

    Attributes:
        prune: Which weights go and how.
        training: Settings of :class:`~srdeploy.train.recipe.TrainRecipe` for both stages.
        regularise: The same for the penalised stage alone, over ``training``. Its iterations
            follow from the penalty's schedule; its weights are never averaged.
        finetune: The same for the recovery after removal; ``iterations: 0`` leaves it out.
        refit: Fit what removal left to the dense network by least squares, before the recovery.
        calibration: The images for that, and for ``prune.common_set: obs`` or ``reconstruct``;
            default: shipped images.
    """

    prune: TrainedOptions
    training: dict[str, Any]
    regularise: dict[str, Any] = {}
    finetune: dict[str, Any] = {}
    refit: bool = False
    calibration: str | None = None

    @model_validator(mode="after")
    def _calibration_is_used(self) -> PruneRecipe:
        if self.calibration is not None and not self.refit and self.prune.agreement not in BY_COST:
            raise ValueError(
                "calibration names images for the refit and for common_set: obs or reconstruct; "
                "set refit: true as well"
            )
        return self

    def images(self) -> Calibration:
        """What the network is run on, where it is."""
        return Calibration(self.calibration or BUILTIN)

    def regularise_recipe(self, card: Card) -> TrainRecipe:
        """How the penalised stage trains.

        Raises:
            UserError: a setting that does not fit.
        """
        values = merged(_defaults(card), merged(self.training, self.regularise))
        values = {k: v for k, v in values.items() if k != "ema"} | {"iterations": 1}
        return parse(TrainRecipe, values, where="The recipe's `training` with `regularise`")

    def finetune_recipe(self, card: Card) -> TrainRecipe | None:
        """How the recovery trains; None for no recovery.

        Raises:
            UserError: a setting that does not fit, or no number of iterations.
        """
        values = merged(_defaults(card), merged(self.training, self.finetune))
        if values.get("iterations") == 0:
            return None
        return parse(TrainRecipe, values, where="The recipe's `training` with `finetune`")


def read_prune_recipe(path: str | Path, changes: Sequence[str] = ()) -> PruneRecipe:
    """Read a recipe from YAML; ``changes`` replace settings (``prune.ratio=0.3``).

    Raises:
        UserError: no such file, no YAML, an unknown key or a value out of its range.
    """
    return read_yaml(PruneRecipe, path, changes)


def _defaults(card: Card) -> dict[str, Any]:
    patch = 41 if card.pre_upscaled else 48
    return {"scales": [card.scale], "patch": patch, **architecture_of(card).finetune}


def prune_trained(
    network: Network,
    recipe: PruneRecipe,
    run_dir: Path,
    *,
    measure: Measure | None = None,
    resume: bool = True,
) -> tuple[Network, PruneReport]:
    """Run a method from the dense network to the recovered small one.

    Each stage has its own folder in ``run_dir`` (``search``, ``regularise``, ``finetune``) and
    goes on from what is found there.

    Args:
        network: Left as it is; also the teacher where the recipe distils.
        recipe: Every setting.
        run_dir: The run's own folder.
        measure: If given, called for the network after each stage.
        resume: Go on from a run found there, instead of starting over.

    Raises:
        UserError: options that do not fit the network, unusable data, or a folder that holds a
            run of other options.
        TrainingStopped: SIGINT or SIGTERM; the state is saved.
        SrdeployError: training diverged, or compaction would change the output.
    """
    # NNI is imported where something is pruned by it.
    from srdeploy.pruning.methods.assl import ASSLPruner
    from srdeploy.pruning.methods.gassl import GASSLPruner
    from srdeploy.pruning.methods.srp import SRPPruner
    from srdeploy.train.evaluator import LoopEvaluator

    network = folded(with_dense_noted(network))
    options = recipe.prune
    grouping = find_groups(network)
    counts = check_fit(grouping, options)
    if options.compare == "global":
        counts = _ranked(network, grouping, counts)
    chosen = None
    if options.agreement in BY_COST:
        network, chosen = choose_start(
            network, grouping, counts, recipe.images(), run_dir / "choice",
            rotate=options.agreement == "reconstruct",
        )  # fmt: skip
    training = recipe.regularise_recipe(network.card)
    recovery = recipe.finetune_recipe(network.card)
    quality: dict[str, dict[str, Any]] = {}

    def note(stage: str, version: Network) -> None:
        if measure is not None:
            quality[stage] = measure(stage, version)

    note("dense", network)
    unit = network.card.value_range / 255

    def run(kind: type[TrainedPruner], stage: str, wanted: dict[str, int]) -> Any:
        evaluator = LoopEvaluator(
            network.card, training, run_dir / stage, resume=resume, teacher=network, step=stage
        )
        module = network.copy().module
        pruner = kind(module, grouping, wanted, options, evaluator, unit, chosen)
        pruner.compress()
        return pruner, replace(network, module=module, card=evaluator.card)

    if options.method == "gassl":
        search, _ = run(GASSLPruner, "search", counts)
        counts = search.counts_by_rank()
    pruner, regularised = run(
        SRPPruner if options.method == "srp" else ASSLPruner, "regularise", counts
    )
    note("regularised", regularised)
    hooks: list[StepHook] = []
    if options.weight_group == "weight":
        small, plan = _zeroed(regularised, pruner.loose, options)
        hooks = [HoldZeros(pruner.loose)]
    else:
        plan = make_plan(grouping, pruner.removed, options.method, _settings(options))
        small = compact(regularised, plan)
    note("compact", small)
    small = _begun_anew(small, options)
    if recipe.refit and plan.removed:
        small = refit_to(network, small, plan, recipe.images())
        note("refit", small)
    if recovery is not None:
        small = train(
            small,
            recovery,
            run_dir / "finetune",
            resume=resume,
            hooks=hooks,
            step="finetune",
            teacher=network,
        )
        note("tuned", small)
    return small, report_on(network, grouping, plan, options, small, quality)


class HoldZeros(StepHook):
    """Keeps single weights at zero while the others are fine-tuned.

    Args:
        masks: Weight name to 1 where it stays zero.
    """

    def __init__(self, masks: dict[str, Tensor]) -> None:
        self._masks = masks
        self._held: list[tuple[Tensor, Tensor]] = []

    def attach(self, module: nn.Module) -> None:
        """Find the weights."""
        parameters = dict(module.named_parameters())
        self._held = [
            (parameters[name], (1 - mask).to(parameters[name].device))
            for name, mask in self._masks.items()
        ]

    @torch.no_grad()
    def after_step(self, module: nn.Module, iteration: int) -> None:
        """Zero what the optimiser moved."""
        torch._foreach_mul_([w for w, _ in self._held], [keep for _, keep in self._held])


def _ranked(network: Network, grouping: Grouping, counts: dict[str, int]) -> dict[str, int]:
    """What each group loses where mean |W| is ranked over the whole network (SRP)."""
    groups = [group for group in grouping.groups if group.name in counts]
    scores = {group.name: mean_weights(network.module, group) for group in groups}
    shapes = {name: list(t.shape) for name, t in network.module.state_dict().items()}
    return counts_by_rank(groups, scores, counts, shapes)


def _begun_anew(network: Network, options: TrainedOptions) -> Network:
    """The network with new weights in the layers that ``reinit`` names."""
    if not options.reinit:
        return network
    named = [
        (name, layer)
        for name, layer in network.module.named_modules()
        if any(fnmatchcase(name, pattern) for pattern in options.reinit)
    ]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(options.seed)
        for _, layer in named:
            if callable(reset := getattr(layer, "reset_parameters", None)):
                reset()
    card = network.card.step(step="reinit", layers=[name for name, _ in named])
    return replace(network, card=card)


def _settings(options: TrainedOptions) -> dict[str, Any]:
    return {key: value for key, value in options.decisive().items() if key != "method"}


def _zeroed(
    network: Network, masks: dict[str, Tensor], options: TrainedOptions
) -> tuple[Network, Plan]:
    """The network with single weights at zero: the same shapes, nothing to cut out."""
    module = network.copy().module
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(1 - mask)
    gone = int(sum(float(mask.sum()) for mask in masks.values()))
    total = sum(mask.numel() for mask in masks.values())
    plan = Plan(method=options.method, options=_settings(options), removed={}, keep={}, zero={})
    card = network.card.step(step="prune", **options.decisive())
    proof = {
        "claim": f"{gone} of {total} single weights are zero; nothing was removed: the network "
        "has its old shapes and speed",
        "max_difference": 0.0,
    }
    card = card.model_copy(update={"proof": proof})
    return replace(network, module=module, card=card), plan
