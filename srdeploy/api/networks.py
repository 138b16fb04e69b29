"""Functions that make networks of networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from srdeploy.api.given import listed, network_of, said
from srdeploy.compacting.surgery import compact as _compact
from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import UserError
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.store import save_network
from srdeploy.pruning.methods.oneshot import default_exclude, plan_oneshot
from srdeploy.pruning.methods.table import check_settings, chosen_method, steps_of
from srdeploy.pruning.options import PruneOptions
from srdeploy.pruning.plan import Plan
from srdeploy.pruning.stage_ratios import read_layer_ratios
from srdeploy.reconstruct.budget import budget_of
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.run import prune_at_once
from srdeploy.train.defaults import finetune_recipe
from srdeploy.train.loop import train as _train
from srdeploy.train.method import prune_trained
from srdeploy.train.prune_defaults import prune_recipe
from srdeploy.util.strict import parse


def load(
    path: str | Path,
    *,
    arch: str | Callable[[], nn.Module] | None = None,
    scale: int | None = None,
    res_scale: float | None = None,
) -> Network:
    """Load a network: a file of ours, a foreign checkpoint, or a shipped one by its name.

    Args:
        path: The file, or the name. No code in a file ever runs.
        arch: What the file does not show: a name of ours; or, for a network of your own, what
            makes its module without arguments, or ``package.module:callable``.
        scale: Factor that a network of several (VDSR) shall serve.
        res_scale: Residual scaling of a foreign EDSR, which weights do not show.

    Raises:
        UserError: nothing there, unreadable, not recognised, or tensors that do not fit.

    Example:
        >>> dense = sr.load("edsr-s-x2")
        >>> own = sr.load("weights.pt", arch=lambda: MyNet(width=48))
    """
    if not isinstance(path, (str, Path)):
        raise UserError(
            f"sr.load reads files, and a {type(path).__name__} is none; sr.wrap(module) makes a "
            "network of a live module."
        )
    return load_network(path, arch=arch, scale=scale, res_scale=res_scale)


def save(network: Network | nn.Module, path: str | Path) -> None:
    """Write weights and card into one safetensors file, whole or not at all.

    Args:
        network: What to write.
        path: Where to.

    Raises:
        UserError: it cannot be written there.

    Example:
        >>> sr.save(small, "small.safetensors")
    """
    save_network(network_of(network), path)


def plan(
    network: Network | nn.Module | str | Path,
    ratio: float = 0.5,
    *,
    layer_ratios: Mapping[str, float] | None = None,
    exclude: str | Sequence[str] = (),
    round_to: int | str = 1,
    criterion: str = "l1",
    seed: int = 0,
) -> Plan:
    """Choose by one-shot scores which channels stay; :func:`compact` then removes the others.

    Args:
        network: What to prune.
        ratio: Fraction of channels to remove from each group, 0 <= ratio < 1.
        layer_ratios: Layer pattern to a ratio of its own.
        exclude: Pattern or patterns of layers whose channels stay, beside those that the published
            runs of its architecture leave alone.
        round_to: Keep multiples of so many channels; ``"auto"``: of what this machine's CPU
            computes at a time; or a target's name.
        criterion: ``l1``, ``l2``, ``fpgm`` or ``random``.
        seed: For ``random``.

    Raises:
        UserError: options that fit no layer, or nothing to prune.

    Example:
        >>> chosen = sr.plan(dense, 0.5, exclude=["head*", "tail*"], round_to=8)
    """
    dense = network_of(network)
    options = said(
        layer_ratios=layer_ratios,
        exclude=listed(exclude),
        round_to=round_to,
        criterion=criterion,
        seed=seed,
    )
    return plan_oneshot(dense, _oneshot_options(dense, ratio, options))


def compact(network: Network | nn.Module | str | Path, plan: Plan) -> Network:
    """Take out the channels that a plan does not keep, and prove that nothing else changed.

    Args:
        network: What the plan was made for; left as it is.
        plan: Of :func:`plan`.

    Returns:
        The small network; the proof of equality is on its card.

    Raises:
        SrdeployError: compaction would change the network's output.

    Example:
        >>> small = sr.compact(dense, sr.plan(dense, 0.5))
    """
    return _compact(network_of(network), plan)


def prune(
    network: Network | nn.Module | str | Path,
    ratio: float | str | None = None,
    *,
    macs: float | None = None,
    params: float | None = None,
    method: str | None = None,
    layer_ratios: Mapping[str, float] | str | None = None,
    remove_blocks: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    round_to: int | str | None = None,
    criterion: str | None = None,
    common_set: str | None = None,
    seed: int | None = None,
    recipe: str | Path | None = None,
    changes: str | Sequence[str] = (),
    data: str | Path | Sequence[str | Path] | None = None,
    refit: bool = False,
    calibration: str | Path | None = None,
    network_wise: int | None = None,
    iterations: int | None = None,
    run_dir: str | Path | None = None,
) -> Network:
    """Remove channels exactly; the methods that train also fine-tune.

    Args:
        network: Left as it is.
        ratio: Fraction of channels to remove from each group; default: the recipe's, else 0.5.
            ``"auto"``: each group's own, within ``macs`` or ``params``.
        macs: For ``reconstruct`` and ``obs``: at most so many MACs for a 1280x720 output.
        params: Likewise: at most so many parameters.
        method: ``reconstruct`` (the default without a recipe) or ``obs``, which choose by cost and
            refit what stays, without training; ``l1`` (the default with a criterion), which takes
            seconds; or one that trains: ``srp``, ``assl``, ``gassl``, ``guided`` or ``fade``.
        layer_ratios: Layer pattern to a ratio of its own; or ``"[0-15:0.3,16:0.5]"`` by number;
            or the file of a pruned form of the network, for the shares that its layers have lost.
        remove_blocks: Names or patterns of residual blocks that go entirely; without a ratio or a
            budget nothing else does. Not for the methods that train.
        exclude: Pattern or patterns of layers whose channels stay, beside those that the published
            runs of its architecture leave alone.
        round_to: Keep multiples of so many channels; ``"auto"``: of what this machine's CPU
            computes at a time; or a target's name. Default: the recipe's, else 1.
        criterion: How ``l1`` scores: ``l1`` (default), ``l2``, ``fpgm`` or ``random``.
        common_set: How coupled layers agree, for the methods that train: ``random``, ``joint`` or
            ``first-layer``.
        seed: For ``random``; default: the recipe's, else 0.
        recipe: A pruning recipe, for the methods that train.
        changes: Settings of the recipe to replace (``prune.penalty.limit=10``).
        data: Training images, for the methods that train; default: the recipe's, else the few that
            are shipped.
        refit: Fit what is left to the dense network by least squares; ``reconstruct`` and ``obs``
            always do.
        calibration: Images for that; default: shipped images.
        network_wise: Steps of Adam after that, on the same images, towards the dense network's
            output; default: 500 for ``reconstruct`` and ``obs`` (fewer for a large network, none
            for one that computes without gradients), else none.
        iterations: Of the recovery, for the methods that train.
        run_dir: Where those keep checkpoints (the same call resumes) and curves; obligatory for
            them. ``reconstruct`` and ``obs`` keep there what is done until all is.

    Returns:
        The small network; what was done and the proof of equality are on its card.

    Raises:
        UserError: options that fit no layer or method, nothing to prune, or no ``run_dir``.
        SrdeployError: compaction would change the network's output.

    Example:
        >>> small = sr.prune("edsr-s-x2", 0.5, exclude="body.0.*")
        >>> fewer = sr.prune("edsr-s-x2", remove_blocks=["body.3", "body.5"])
        >>> small = sr.prune(model, method="srp", data="DIV2K/HR", run_dir="runs/srp")
    """
    dense = network_of(network)
    if isinstance(layer_ratios, str):
        left = (*default_exclude(dense), *listed(exclude))
        layer_ratios = read_layer_ratios([layer_ratios], dense, left)
    options = said(
        layer_ratios=layer_ratios,
        remove_blocks=listed(remove_blocks) or None,
        exclude=listed(exclude) or None,
        round_to=round_to,
        criterion=criterion,
        common_set=common_set,
        seed=seed,
    )
    budget = budget_of(macs, params)
    if isinstance(ratio, str) or budget is not None:
        if ratio not in (None, "auto") or budget is None:
            raise UserError('ratio="auto" and a budget, macs or params, belong together.')
        ratio = 0.0
    elif ratio is None and remove_blocks and not layer_ratios:
        ratio = 0.0
    row = chosen_method(method, has_recipe=recipe is not None, scores=criterion is not None)
    check_settings(
        row,
        trains=bool(recipe or changes or data or iterations is not None),
        resumes=run_dir is not None,
        scores=criterion is not None and not (row and row.scores_by_criterion),
        calibrates=calibration is not None,
        refits=refit,
        learns=network_wise is not None,
        budget=budget is not None,
    )
    if row is not None and not row.trains:
        chosen = _oneshot_options(dense, 0.5 if ratio is None else ratio, options)
        images = Calibration(
            BUILTIN if calibration is None else calibration,
            network_wise=steps_of(row, network_wise),
            steps_asked=network_wise is not None,
        )
        folder = None if run_dir is None else Path(run_dir) / "reconstruct"
        how: dict[str, Any] = {"refits": refit, "budget": budget, "folder": folder}
        return prune_at_once(dense, row, chosen, images, **how)[0]
    if run_dir is None:
        raise UserError("Name a run_dir: a method that trains keeps its checkpoints there.")
    settings = prune_recipe(
        dense,
        method,
        Path(recipe) if recipe else None,
        listed(changes),
        prune={"ratio": ratio, **options},
        training={"data": {"folders": listed(data)} if data else None},
        finetune={"iterations": iterations},
        refit=refit or None,
        calibration=str(calibration) if calibration is not None else None,
    )
    return prune_trained(dense, settings, Path(run_dir))[0]


def finetune(
    network: Network | nn.Module | str | Path,
    *,
    run_dir: str | Path,
    data: str | Path | Sequence[str | Path] | None = None,
    iterations: int | None = None,
    batch: int | None = None,
    patch: int | None = None,
    lr: float | None = None,
    precision: str | None = None,
    quantise: str | None = None,
    teacher: str | Path | None = None,
    seed: int | None = None,
    threads: int | None = None,
    recipe: str | Path | None = None,
    changes: str | Sequence[str] = (),
    watch: str | None = None,
) -> Network:
    """Fine-tune a network, pruned or not; the same call resumes.

    Args:
        network: Left as it is.
        run_dir: Where checkpoints and curves go.
        data: Training images or an HDF5 file; default: the recipe's, else the few that are shipped.
        iterations: How long; default: the recipe's, else 1000.
        batch: Patches per iteration.
        patch: Their side in input pixels.
        lr: Learning rate.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        quantise: ``int8``: learn under the rounding that the int8 export writes.
        teacher: A network to learn from as well.
        seed: Of the patches.
        threads: CPU threads.
        recipe: A training recipe; what is not given here is its.
        changes: Settings of the recipe to replace.
        watch: Benchmark set by which the best network on the way is the result, the given one
            among them; default: one in ten of the images of ``data``, or those shipped for
            measuring; ``none``: the last network, unmeasured.

    Raises:
        UserError: settings that do not fit together, or data without images.

    Example:
        >>> tuned = sr.finetune(small, data=["DIV2K/HR", "mine"], run_dir="runs/tuned")
    """
    start = network_of(network)
    overrides = said(
        iterations=iterations,
        batch=batch,
        patch=patch,
        lr=lr,
        precision=precision,
        quantise=quantise,
        teacher=None if teacher is None else str(teacher),
        seed=seed,
        threads=threads,
    )
    overrides |= {"data": listed(data) if data else None, "eval_data": watch}
    fitted = finetune_recipe(
        start.card, Path(recipe) if recipe else None, overrides, listed(changes)
    )
    if fitted.quantise is not None:
        from srdeploy.exporting.precision.quantise_finetune import finetune_int8

        return finetune_int8(start, fitted, run_dir)
    return _train(start, fitted, run_dir, step="finetune")


def _oneshot_options(dense: Network, ratio: float, options: dict[str, Any]) -> PruneOptions:
    if "common_set" in options:
        raise UserError("common_set belongs to the methods that train; name one.")
    exclude = dict.fromkeys((*default_exclude(dense), *options.pop("exclude", ())))
    values = {"ratio": ratio, "exclude": tuple(exclude), **options}
    return parse(PruneOptions, values, where="These settings")
