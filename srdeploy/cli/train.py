"""Commands that change weights: train and finetune, one loop."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, say

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
        str,
        typer.Option("--eval-data", metavar="DIR", help="Set to measure on along the way; `none`."),
    ] = "builtin",
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
    threads: o.Threads = None,
    run_dir: RunDir = None,
    fresh: Fresh = False,
    arch: o.Arch = None,
    scale: o.Scale = None,
    json: o.AsJson = False,
) -> None:
    """Fine-tune a network, pruned or not; the same command resumes an interrupted run.

    **Examples**

    `srdeploy finetune p.safetensors --train-data DIV2K/HR --iterations 20000 -o t.safetensors`

    `srdeploy finetune pruned.safetensors --recipe configs/train/vdsr-recover.yaml -o v.safetensors`

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
    settings = finetune_recipe(network.card, recipe, overrides, changes or ())
    _run(network, settings, output, run_dir, fresh, json, "finetune")


def _run(
    network: Any,
    settings: Any,
    output: Path,
    run_dir: Path | None,
    fresh: bool,
    json: bool,
    step: str,
) -> None:
    from srdeploy.files import check_output
    from srdeploy.models.store import save_network
    from srdeploy.quality import evaluate
    from srdeploy.strict import expand
    from srdeploy.train.journal import read_metrics
    from srdeploy.train.loop import train as run_training
    from srdeploy.train.processes import joined

    check_output(output)
    folder = run_dir or Path("runs") / output.stem
    watch = settings.validation
    quality: dict[str, Any] = {}

    def tell(stage: object, figures: dict[str, Any]) -> None:
        if not json:
            value = next(v for k, v in figures.items() if k.startswith("psnr_"))
            note(f"{stage!s:>10}: {value:.3f} dB  {figures['protocol']} on {watch.data}")

    def measure(stage: str, version: Any) -> None:
        if watch is None or not processes.is_first:
            return
        data = watch.data if watch.data == "builtin" else expand(watch.data)
        scale = watch.scale or version.card.scale
        quality[stage] = evaluate(version, data, scale, watch.protocol).as_dict()
        del quality[stage]["per_image"]
        tell(stage, quality[stage])

    with joined() as processes:
        if step == "finetune":  # before training from scratch there is nothing to measure
            measure("before", network)
        if settings.quantise is not None and step == "finetune":
            from srdeploy.export.quantise_finetune import finetune_int8

            result = finetune_int8(network, settings, folder, resume=not fresh, measure=measure)
        else:
            result = run_training(network, settings, folder, resume=not fresh, step=step)
    if not processes.is_first:
        return
    save_network(result, output)
    curve = [entry for entry in read_metrics(folder) if "protocol" in entry]
    for entry in curve:
        tell(entry["iteration"], entry)
    if curve:
        quality["after"] = {k: v for k, v in curve[-1].items() if k != "iteration"}
    if json:
        emit({"output": str(output), "run": str(folder), "quality": quality, "curve": curve,
              "iterations": settings.iterations})  # fmt: skip
        return
    say(f"written to {output}; the run's curves are in {folder / 'metrics.jsonl'}")
