"""The command that lists the networks that come with the package."""

from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import console, emit, quantity


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(zoo)


def zoo(
    time: Annotated[
        bool, typer.Option("--time", help="Measure their latency here, in onnxruntime.")
    ] = False,
    input_size: o.InputSize = None,
    runs: o.Runs = None,
    seconds: o.Seconds = None,
    threads: o.Threads = None,
    json: o.AsJson = False,
) -> None:
    """List the networks that come with srdeploy; their names work wherever a file does.

    **Examples**

    `srdeploy zoo`

    `srdeploy zoo --time --input 480x270`
    """
    from srdeploy.bench.zoo import shipped, timed
    from srdeploy.measure.scenario import Scenario
    from srdeploy.strict import parse

    rows = shipped()
    if time:
        settings: dict[str, Any] = {
            "quality": False,
            "inputs": o.parse_size(input_size or "240x160"),
        }
        rows = timed(rows, parse(Scenario, settings, where="These conditions"), threads)
    if json:
        emit([row.to_dict() for row in rows])
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    sets = list(dict.fromkeys(name for row in rows for name in row.quality if name != "builtin"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    table.add_column("network")
    heads = ["scale", "params", "MACs 720p", "KB", *sets, *(["ms", "faster"] if time else [])]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        figures = [
            f"{row.quality[s]['psnr_y']:.2f} / {row.quality[s]['ssim_y']:.4f}" if s in row.quality
            else "-" for s in sets
        ]  # fmt: skip
        speed = "-" if row.speedup is None else f"{row.speedup:.2f}"
        latency = [f"{row.p50_ms:.1f}" if row.p50_ms else "-", speed] if time else []
        table.add_row(row.name, f"x{row.scale}", quantity(row.params), quantity(row.macs_720p),
                      f"{row.bytes / 1000:.0f}", *figures, *latency)  # fmt: skip
    protocols = {q["protocol"] for row in rows for name, q in row.quality.items() if name in sets}
    table.caption = Text(f"PSNR-Y dB / SSIM: {', '.join(sorted(protocols))}")
    console().print(table)
