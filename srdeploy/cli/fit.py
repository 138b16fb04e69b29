"""The command that finds the best network for a device and a budget."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, say, show


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(fit)


def fit(
    file: o.NetworkFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the result.")],
    input_size: Annotated[
        str, typer.Option("--input", metavar="WxH", help="LR size that the budget is for.")
    ],
    device: o.Devices = "local",
    farm: o.FarmFile = None,
    devices: o.FarmDevices = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="MS[,MS]", help="What one image may take: 33ms, or 16ms,33ms."),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=0.001, help="The same in images per second, tiles included."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME[,NAME]",
            help="What may be computed in: fp32, fp16, bf16, int8; auto: what the device's "
            "runtimes are good at.",
        ),
    ] = "auto",
    runtime: Annotated[
        str,
        typer.Option(metavar="auto|NAME[,NAME]", help="What may run it; auto: what is there."),
    ] = "auto",
    pixel_shuffle: Annotated[
        str,
        typer.Option(
            metavar="auto|FORM[,FORM]",
            help="How PixelShuffle may be written: crd, reshape, deconv; auto: as it is fastest.",
        ),
    ] = "auto",
    min_psnr: Annotated[
        float | None, typer.Option(metavar="DB", help="PSNR that the artifact must have.")
    ] = None,
    max_mb: Annotated[
        float | None, typer.Option(metavar="MB", help="Peak memory that it may need.", min=1)
    ] = None,
    max_mj: Annotated[
        float | None,
        typer.Option(metavar="MJ", help="Energy that an image may take, where the device tells."),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=8, help="Cut images into tiles of so many LR pixels."),
    ] = None,
    data: o.Data = "builtin",
    calibration: Annotated[
        str, typer.Option(metavar="DIR", help="Images that pruning is fitted to.")
    ] = "builtin",
    network_wise: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS", min=0, help="Adam towards the dense network's output; default 500."
        ),
    ] = None,
    recover: Annotated[
        str,
        typer.Option(
            metavar="MINUTES|RECIPE", help="Fine-tune the result, for 8 bits where it has them."
        ),
    ] = "0",
    train_data: o.TrainData = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Layers whose channels stay; repeatable."),
    ] = None,
    threads: o.Threads = None,
    store: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where times are kept; default: the user's cache."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")] = False,
    arch: o.Arch = None,
    scale: o.Scale = None,
    json: o.AsJson = False,
) -> None:
    """Find the best network for a device and a budget: widths, precision and runtime.

    Layers are timed on the device, removals are priced by the error they bring, and an exact solver
    chooses. The network is made without training, measured on the device, and corrected until it
    keeps the budget. If the command is interrupted, the same command goes on.

    **Examples**

    `srdeploy fit edsr-s-x2 --input 240x160 --budget 25ms -o fitted`

    `srdeploy fit edsr-s-x2 --input 240x160 --budget 10ms,20ms --precision fp32,int8 -o fitted`

    `srdeploy fit edsr-s-x2 --input 480x270 --fps 30 --device ssh://me@orin --recover 30 -o orin`

    `srdeploy fit edsr-s-x2 --input 480x270 --fps 30 --farm lab/laptop --devices 'orin,pixel-*'
    -o lab-fits`
    """
    from srdeploy.cli.fit_inputs import places
    from srdeploy.errors import UserError
    from srdeploy.fitting.budgets import budgets_ms
    from srdeploy.fitting.places import latency_store
    from srdeploy.fitting.several import fit_each
    from srdeploy.models.load import load_network
    from srdeploy.reporting.page import write_report

    if output.is_file():
        raise UserError(f"'{output}' is a file; -o names the folder of the result.")
    settings = {
        "size": o.size_of(input_size),
        "budgets_ms": budgets_ms(o.listed(budget or ""), fps),
        "fps": fps,
        "runtimes": _names(runtime),
        "precisions": _names(precision),
        "pixel_shuffles": o.listed(pixel_shuffle),
        "min_psnr": min_psnr,
        "max_mb": max_mb,
        "max_mj": max_mj,
        "threads": threads,
        "tile": tile,
        "data": data,
        "calibration": calibration,
        "network_wise": network_wise,
        "recover": recover,
        "train_data": train_data or (),
        "exclude": exclude or (),
    }
    where = places(device, farm, devices)
    network = load_network(file, arch=arch, scale=scale)
    kept = store or latency_store()
    results = fit_each(network, Path(file).name, settings, where, output, kept, fresh=fresh)
    write_report([output], output / "report.html", images=data)
    if json:
        emit([one.model_dump(mode="json") for one in results])
    else:
        _tell(results, output)
    if any(one.shortfall for one in results):
        raise typer.Exit(1)


def _names(text: str) -> list[str]:
    return [] if text == "auto" else o.listed(text)


def _tell(results: list[Any], output: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("device", "budget", "p50", "PSNR", "dense", "runs in", "channels"):
        table.add_column(name, justify="left" if name in ("device", "runs in") else "right")
    for one in results:
        kept, before = sum(one.widths.values()), sum(one.dense_widths.values())
        psnr = "-" if one.psnr is None else f"{one.psnr:.2f}"
        dense = "-" if one.dense_psnr is None else f"{one.dense_psnr:.2f}"
        way = f"{one.runtime or ''} {one.precision}".strip()
        table.add_row(
            one.device, f"{one.budget_ms:.4g}", f"{one.p50_ms:.4g}", psnr, dense, way,
            f"{kept / before:.0%}",
        )  # fmt: skip
    show(table)
    for one in results:
        if one.blocks:
            say(f"{one.device}, {one.budget_ms:.4g} ms: without {', '.join(one.blocks)}")
        for sentence in one.shortfall:
            note(f"{one.device}, {one.budget_ms:.4g} ms: {sentence}")
    say(f"written to {output}; report.html there shows what was considered")
