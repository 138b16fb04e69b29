"""The command that makes networks smaller."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import complete
from srdeploy.cli import options as o
from srdeploy.cli import prune_amounts as amounts
from srdeploy.cli.output import emit, note, quantity, say, say_command
from srdeploy.pruning.methods.table import (
    CRITERIA,
    METHODS,
    Method,
    check_settings,
    chosen_method,
    plain,
    steps_of,
)
from srdeploy.train.run_folder import CHECKPOINT, usual_folder


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(prune)


def prune(
    file: o.NetworkFile,
    output: o.Output,
    ratio: Annotated[
        str | None,
        typer.Option(
            metavar="FRACTION|auto",
            help="Fraction of channels to remove, 0..1; default 0.5. auto: each group its own, "
            "within --macs or --params.",
        ),
    ] = None,
    macs: Annotated[
        str | None,
        typer.Option(metavar="N", help="reconstruct, obs: at most so many MACs (10G) at 720p."),
    ] = None,
    params: Annotated[
        str | None,
        typer.Option(metavar="N", help="reconstruct, obs: at most so many parameters (300K)."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="No training: {methods-at-once}. Training: {methods-that-train}. Default: the "
            "recipe's, else reconstruct.",
            autocompletion=complete.methods,
            callback=o.in_our_words(METHODS),
        ),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="l1 only: how NNI scores filters: l1 (default), l2, fpgm or random.",
            autocompletion=complete.criteria,
            callback=o.in_our_words(CRITERIA),
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="reconstruct, obs, --refit: images; default: shipped."),
    ] = None,
    rotate: Annotated[
        bool | None,
        typer.Option("--rotate/--no-rotate", help="reconstruct only; --no-rotate makes it obs."),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Any method: fit what is left to the dense network."),
    ] = False,
    network_wise: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS",
            min=0,
            help="reconstruct, obs, --refit: Adam towards the dense network's output, on the same "
            "images; reconstruct, obs: 500.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Methods that train: a YAML recipe (configs/prune/, configs/recipes/)."),
    ] = None,
    changes: o.Changes = None,
    common_set: Annotated[
        str | None,
        typer.Option(
            help="How coupled layers agree: random, joint, first-layer; srp: obs, reconstruct."
        ),
    ] = None,
    train_data: o.TrainData = None,
    iterations: Annotated[
        int | None,
        typer.Option(min=0, help="Methods that train: of fine-tuning at the end; 0 leaves it out."),
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option(help="Where an interrupted run goes on from; default: runs/<output>."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False,
    threads: o.Threads = None,
    layer_ratio: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=RATIO",
            help="Own ratio for layers of a name pattern; or '[0-15:0.3,16:0.5]' by number; or a "
            "pruned file, for its shares.",
        ),
    ] = None,
    nni_config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="In place of ratios: NNI's config_list, as it stands."),
    ] = None,
    remove_block: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="No training: residual blocks that go entirely (body.3); repeatable. Without "
            "--ratio nothing else does.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Layers whose channels stay; repeatable."),
    ] = None,
    default_exclude: Annotated[
        bool, typer.Option(help="Leave alone what the published runs leave alone (EDSR's tail).")
    ] = True,
    round_to: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Keep multiples of so many channels; auto: the block that --for computes in.",
        ),
    ] = None,
    meant_for: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TARGET",
            help="With --round-to auto: onnxruntime on this CPU (default), trt, trt-int8...",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="For whatever is drawn at random.")] = None,
    data: o.Data = "builtin",
    quality: Annotated[bool, typer.Option(help="Show PSNR after each stage.")] = True,
    arch: o.Arch = None,
    scale: o.Scale = None,
    json: o.AsJson = False,
) -> None:
    """Remove channels and prove that the small network computes what the masked one does.

    Coupled layers (residual additions, PixelShuffle...) are found by tracing the network.
    l1 takes seconds, obs and reconstruct take minutes and keep far more quality; recover the rest
    with `srdeploy finetune`: the output ends in that command. The other methods train: they drive
    the channels to zero, remove them and fine-tune. The same command resumes an interrupted run.

    **Examples**

    `srdeploy prune edsr-s-x2 --ratio 0.5 -o pruned.safetensors`

    `srdeploy prune edsr-s-x2 --method l1 --ratio 0.5 -o pruned.safetensors`

    `srdeploy prune edsr-s-x2 --remove-block body.3 --remove-block body.5 -o shorter.safetensors`

    `srdeploy prune edsr-s-x2 --ratio 0.3 --round-to auto -o pruned.safetensors`

    `srdeploy prune VDSR.pth --ratio 0.3 --layer-ratio 'residual_layer.1?.conv=0.7' -o v.st`

    `srdeploy prune edsr-s-x2 --method srp --recipe configs/prune/srp.yaml -o small.safetensors`
    """
    from srdeploy.data.builtin import BUILTIN
    from srdeploy.errors import UserError
    from srdeploy.models.load import load_network
    from srdeploy.models.store import check_network_path
    from srdeploy.reconstruct.budget import budget_of
    from srdeploy.reconstruct.calibration import Calibration

    check_network_path(output)
    budget = budget_of(amounts.amount("--macs", macs), amounts.amount("--params", params))
    if nni_config is not None and (ratio or layer_ratio or budget):
        raise UserError("--nni-config says what goes; leave ratios and budgets out.")
    only_blocks = bool(remove_block) and not (ratio or layer_ratio or nni_config or budget)
    share = 0.0 if only_blocks else amounts.ratio(ratio, budget, layer_ratio or [])
    row = chosen_method(method, has_recipe=recipe is not None, scores=criterion is not None)
    trains = (recipe, changes, common_set, train_data, threads)
    check_settings(
        row,
        trains=any(trains) or iterations is not None,
        resumes=bool(run_dir or fresh),
        scores=(criterion or "l1") != "l1",
        calibrates=calibration is not None,
        rotates=rotate is not None,
        refits=refit,
        learns=network_wise is not None,
        budget=budget is not None,
    )
    if rotate is False:
        row = row and plain(row)
    network = load_network(file, arch=arch, scale=scale)
    choice = {
        "ratio": share,
        "layer_ratios": amounts.layer_ratios(layer_ratio, network, exclude, default_exclude),
        "remove_blocks": tuple(remove_block) if remove_block else None,
        "exclude": tuple(exclude) if exclude else None,
        "round_to": amounts.round_to(round_to, meant_for),
        "seed": seed,
    }
    if nni_config is not None:
        listed = amounts.listed(nni_config, network)
        choice |= {**listed, "exclude": (*(exclude or ()), *listed["exclude"])}

    def measure(stage: str, version: Any) -> dict[str, Any]:
        from srdeploy.quality.evaluate import evaluate

        dense = None if stage in ("dense", "masked") else network
        figures = evaluate(version, data, version.card.scale, dense=dense)
        if not json:
            near = figures.figures.get("agreement")
            agrees = "" if near is None else f", {near:.2f} dB to the dense network's outputs"
            note(f"{stage:>12}: {figures.psnr:.3f} dB  {figures.protocol} on {data}{agrees}")
        return {k: v for k, v in figures.as_dict().items() if k != "per_image"} | {"data": data}

    show = measure if quality else None
    folder = run_dir or usual_folder(output.stem)
    if row is not None and not row.trains:
        images = Calibration(
            calibration or BUILTIN,
            network_wise=steps_of(row, network_wise),
            steps_asked=network_wise is not None,
        )
        small, report = _at_once(
            network, row, choice | {"criterion": criterion}, default_exclude, show,
            calibration=images, refits=refit, budget=budget, folder=folder / "reconstruct",
            resume=not fresh,
        )  # fmt: skip
        more: dict[str, Any] = {}
    else:
        if changes and recipe is None:
            raise UserError("--set changes settings of a recipe; name one with --recipe.")
        trained = _trained(
            network,
            {"method": method, "recipe": recipe, "changes": changes or (),
             "published_exclude": default_exclude,
             "prune": choice | {"common_set": common_set},
             "training": {"data": {"folders": train_data} if train_data else None,
                          "threads": threads, "seed": seed},
             "finetune": {"iterations": iterations},
             "refit": refit or None, "calibration": calibration},
            folder,
            fresh,
            show,
        )  # fmt: skip
        if trained is None:
            return
        small, report = trained
        more = {"run": str(folder)}
    more["next"] = _next(small, file, output, data, train_data or ())
    _tell(small, report, output, json, more)


def _at_once(
    network: Any,
    method: Method,
    choice: dict[str, Any],
    default_exclude: bool,
    measure: Any,
    **how: Any,
) -> Any:
    from srdeploy.pruning.methods.oneshot import default_exclude as published
    from srdeploy.pruning.options import PruneOptions
    from srdeploy.reconstruct.run import prune_at_once

    given: dict[str, Any] = {key: value for key, value in choice.items() if value is not None}
    options = PruneOptions(**{"ratio": 0.5, **given})
    if default_exclude:
        patterns = dict.fromkeys((*published(network), *options.exclude))
        options = options.model_copy(update={"exclude": tuple(patterns)})
    return prune_at_once(network, method, options, measure=measure, **how)


def _trained(
    network: Any, settings: dict[str, Any], run_dir: Path, fresh: bool, measure: Any
) -> Any:
    from srdeploy.train.method import prune_trained
    from srdeploy.train.processes import joined
    from srdeploy.train.prune_defaults import prune_recipe

    base = settings.pop("recipe")
    recipe = prune_recipe(network, settings.pop("method"), base, **settings)
    with joined() as processes:
        show = measure if processes.is_first else None
        result = prune_trained(network, recipe, run_dir, measure=show, resume=not fresh)
    return result if processes.is_first else None


def _tell(small: Any, report: Any, output: Path, json: bool, more: dict[str, Any]) -> None:
    from srdeploy.models.proof_text import tell_proof
    from srdeploy.models.store import save_network

    save_network(small, output)
    if json:
        emit({"output": str(output), **more, **report.to_dict(), "widths": small.card.widths})
        return
    before, after = report.before, report.after
    for name, part in report.plan.parts.items():
        say(f"{name} is gone: {', '.join(part.layers)}")
    for row in report.groups:
        if row["kept"] < row["channels"]:
            layers = row["layers"]
            named = layers[0] + (f" ... {layers[-1]} ({len(layers)})" if layers[1:] else "")
            say(f"{row['channels']:5} -> {row['kept']:<5} {row['status']:8} {named}")
    for remark in report.remarks:
        say(remark)
    if told := str(report.unprunable):
        say(told)
    say(f"parameters {quantity(before.params)} -> {quantity(after.params)}")
    say(
        f"MACs for a 1280x720 output {quantity(before.macs_720p)} -> "
        f"{quantity(after.macs_720p)} ({before.macs_720p / after.macs_720p:.2f} times fewer)"
    )
    first, *details = tell_proof(report.proof)
    say(f"proof: {first}" if "tolerance" in report.proof else first)
    for line in details:
        say(f"  {line}")
    curves = f"; the run's curves are in {more['run']}" if "run" in more else ""
    say(f"written to {output}{curves}")
    few = " (builtin stands for your own training images)"
    say(f"next{few if '--train-data builtin' in more['next'] else ''}:")
    say_command(more["next"])


def _next(small: Any, file: str, output: Path, data: str, train_data: Sequence[str]) -> str:
    """The command with which one goes on, as a shell takes it: recovery, or export after that.

    The network that was pruned teaches: quality comes back sooner, and further.
    """
    card = small.card
    own = ["--arch", card.arch] if card.own_code else []
    if any(entry.get("step") == "finetune" for entry in card.history[-1:]):
        target = output.with_suffix(".onnx")
        return shlex.join(["srdeploy", "export", str(output), *own, "-o", str(target)])
    folders = [word for folder in train_data or ["builtin"] for word in ("--train-data", folder)]
    watched = ["--eval-data", data] if data != "builtin" else []
    tuned = output.with_name(f"{output.stem}-tuned.safetensors")
    taken = _free_run_folder(tuned.stem)
    teacher = [] if own else ["--teacher", file]
    command = ["srdeploy", "finetune", str(output), *own, *teacher, *folders, *watched, *taken]
    return shlex.join([*command, "-o", str(tuned)])


def _free_run_folder(name: str) -> list[str]:
    """The option that names a run folder where the usual one holds another network's run."""
    usual, number = usual_folder(name), 1
    free = usual
    while (free / CHECKPOINT).exists():
        number += 1
        free = usual.with_name(f"{name}-{number}")
    return [] if number == 1 else ["--run-dir", str(free)]
