"""Commands that change weights: train and finetune, one loop."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, say
from srdeploy.train.run_folder import METRICS, usual_folder
from srdeploy.util.figures_json import figure

RunDir = Annotated[
    Path | None,
    typer.Option(help="Folder of checkpoints and curves; default: runs/<name of the output>."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(train)
    app.command()(finetune)


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file (configs/train/).")],
    output: o.Output,
    changes: o.Changes = None,
    run_dir: RunDir = None,
    fresh: Fresh = False,
    json: o.AsJson = False,
) -> None:
    """Train a network from scratch as a recipe says; the same command resumes.

    **Example**

    `SRDEPLOY_DATA=~/sr-data srdeploy train configs/train/edsr-s-x2.yaml -o edsr-s-x2.safetensors`

    **Several processes or GPUs** share each batch (the result is one process's, to rounding):

    `torchrun --standalone --nproc-per-node 2 -m srdeploy train RECIPE -o FILE`
    """
    from srdeploy.train.loop import starting_network
    from srdeploy.train.recipe import read_recipe

    settings = read_recipe(recipe, changes or ())
    _run(starting_network(settings), settings, output, run_dir, fresh, json, "train")


def finetune(
    file: o.NetworkFile,
    output: o.Output,
    recipe: Annotated[
        Path | None, typer.Option(help="A YAML recipe; the options below override it.")
    ] = None,
    changes: o.Changes = None,
    train_data: o.TrainData = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Default 1000; 8 bits: 400.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Default 16; 8 bits: 8.")] = None,
    patch: Annotated[
        int | None, typer.Option(min=8, help="Input patch size; default 48 (VDSR: 41; 8 bits: 32).")
    ] = None,
    lr: Annotated[
        float | None, typer.Option(min=0.0, help="Learning rate, decayed by a cosine.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="fp32, bf16 or fp16; default: bf16 where it is fast.",
            callback=o.in_our_words(("fp32", "bf16", "fp16")),
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--eval-data",
            metavar="DIR",
            help="Set by which the best network is kept: a folder, builtin, held-out, none. "
            "Default: the recipe's; else one in ten of --train-data; builtin without.",
        ),
    ] = None,
    eval_every: Annotated[
        int | None, typer.Option(min=1, help="Iterations between measurements.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of patches and their order.")] = None,
    quantise: Annotated[
        str | None,
        typer.Option(
            metavar="int8",
            callback=o.in_our_words(("int8",)),
            help="Learn under 8-bit rounding; export then with --precision int8.",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A network to learn from as well as from the images."),
    ] = None,
    lr_data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="Images as the network is given them, without originals: learn what --teacher "
            "makes of them; repeatable.",
        ),
    ] = None,
    threads: o.Threads = None,
    run_dir: RunDir = None,
    fresh: Fresh = False,
    arch: o.Arch = None,
    scale: o.Scale = None,
    json: o.AsJson = False,
) -> None:
    """Fine-tune a network, pruned or not; the same command resumes an interrupted run.

    Written is the network that measures best along the way, the one to begin with among them; the
    output says which iteration that was, and whether the end is worse than the beginning.

    **Examples**

    `srdeploy finetune p.safetensors --train-data DIV2K/HR --iterations 20000 -o t.safetensors`

    `srdeploy finetune pruned.safetensors --recipe configs/train/vdsr-recover.yaml -o v.safetensors`

    `srdeploy finetune p.safetensors --teacher dense.safetensors --lr-data frames -o t.safetensors`

    `srdeploy finetune t.safetensors --quantise int8 --train-data DIV2K/HR -o t-int8.safetensors`
    """
    from srdeploy.models.load import load_network
    from srdeploy.train.defaults import finetune_recipe

    network = load_network(file, arch=arch, scale=scale)
    overrides = {
        "data": train_data,
        "iterations": iterations,
        "batch": batch,
        "patch": patch,
        "lr": lr,
        "precision": precision,
        "eval_data": data,
        "eval_every": eval_every,
        "seed": seed,
        "quantise": quantise,
        "teacher": teacher,
        "threads": threads,
    }
    if lr_data:
        overrides |= _taught(network, teacher, lr_data, train_data, data)
    settings = finetune_recipe(network.card, recipe, overrides, changes or ())
    _run(network, settings, output, run_dir, fresh, json, "finetune")


def _taught(
    network: Any,
    teacher: str | None,
    folders: list[str],
    train_data: list[str] | None,
    watched: str | None,
) -> dict[str, Any]:
    """Settings of a run on images without originals."""
    from srdeploy.errors import UserError
    from srdeploy.models.load import load_network
    from srdeploy.train.taught import taught_settings
    from srdeploy.util.strict import expand

    if teacher is None:
        raise UserError("--lr-data has no originals to learn from: add --teacher FILE.")
    if train_data:
        raise UserError("--train-data has originals and --lr-data has none; give one of them.")
    paths = [expand(folder) for folder in folders]
    found = taught_settings(paths, load_network(teacher), network.card)
    return found | ({"eval_data": watched} if watched else {})


def _run(
    network: Any,
    settings: Any,
    output: Path,
    run_dir: Path | None,
    fresh: bool,
    json: bool,
    step: str,
) -> None:
    from srdeploy.models.store import check_network_path, save_network
    from srdeploy.train.journal import psnr_of, read_curve
    from srdeploy.train.loop import train as run_training
    from srdeploy.train.processes import joined

    check_network_path(output)
    folder = run_dir or usual_folder(output.stem)
    int8 = settings.quantise is not None and step == "finetune"
    quality: dict[str, Any] = {}
    with joined() as processes:
        if int8:
            from srdeploy.exporting.precision.quantise_finetune import finetune_int8

            if processes.is_first:
                quality |= _before_rounding(network, settings.validation)
            result = finetune_int8(network, settings, folder, resume=not fresh)
        else:
            result = run_training(network, settings, folder, resume=not fresh, step=step)
    if not processes.is_first:
        return
    save_network(result, output)
    entry = result.card.history[-1]
    kept, curve = entry.get("kept"), read_curve(folder, settings.validation)
    for point in curve:
        figures = {key: value for key, value in point.items() if key != "iteration"}
        if point["iteration"] == 0:
            quality["calibrated" if int8 else "before"] = figures
        if kept is not None and point["iteration"] == kept["iteration"]:
            quality["after"] = figures
    remarks = _remarks(settings, entry)
    if json:
        emit({"output": str(output), "run": str(folder), "trained_on": entry["trained_on"],
              "kept": kept, "remarks": remarks, "quality": quality, "curve": curve,
              "iterations": settings.iterations})  # fmt: skip
        return
    named = {f"{point['iteration']}": point for point in curve if point["iteration"]}
    for stage, figures in {**quality, **named}.items():
        if stage != "after":
            note(f"{stage:>10}: {psnr_of(figures):.3f} dB  {figures['protocol']} on "
                 f"{figures['what']}")  # fmt: skip
    for sentence in remarks:
        say(sentence)
    say(f"written to {output}; the run's curves are in {folder / METRICS}")


def _before_rounding(network: Any, watch: Any) -> dict[str, Any]:
    """What the network has in float, where it can be measured before its data are opened."""
    from srdeploy.quality.evaluate import evaluate
    from srdeploy.train.recipe import HELD_OUT
    from srdeploy.util.strict import expand

    if watch is None or watch.data == HELD_OUT:
        return {}
    data = watch.data if watch.data == "builtin" else expand(watch.data)
    figures = evaluate(network, data, watch.scale or network.card.scale, watch.protocol).as_dict()
    del figures["per_image"]
    return {"before": {**figures, "what": watch.what}}


def _remarks(settings: Any, entry: dict[str, Any]) -> list[str]:
    """What was trained on, which iteration is the result, and what there is to say against it."""
    told = [f"trained on {entry['trained_on']}"]
    if "," not in told[0] and told[0].endswith("images of builtin"):
        told[0] += (
            ": these are shipped to see that it works and are no training set; use your own "
            "(--train-data, or the recipe's data)"
        )
    kept = entry.get("kept")
    if kept is None:
        return [*told, "nothing was measured on the way: the last iteration is kept"]
    told.append(
        f"kept iteration {kept['iteration']} of {settings.iterations}: "
        f"{figure(kept['psnr']):.3f} dB on {kept['data']}"
    )
    start, end = figure(kept.get("start")), figure(kept["end"])
    if start is not None and end is not None and end < start:
        told.append(
            f"training made it worse, from {start:.3f} dB (iteration 0) to {end:.3f} at the end: "
            "use more images like those it was made for (--train-data), or a lower --lr"
        )
    return told
