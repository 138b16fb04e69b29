"""The command that lists the networks that come with the package."""

from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, quantity, say, show


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
    from srdeploy.benchmarking.measuring.zoo import shipped, timed
    from srdeploy.errors import UserError
    from srdeploy.measure.scenario import Scenario
    from srdeploy.util.strict import parse

    if not time and o.given(size=input_size, runs=runs, seconds=seconds, threads=threads):
        raise UserError("--input, --runs, --seconds and --threads say how to measure; add --time.")
    rows = shipped()
    if time:
        settings = {
            "quality": False,
            "inputs": o.size_of(input_size or "240x160"),
            **o.given(min_runs=runs, min_seconds=seconds),
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
    table.add_column("network", no_wrap=True)
    heads = ["params", "MACs 720p", "KB", *sets, *(["ms", "faster"] if time else [])]
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        figures = [_quality(row.quality.get(s), ssim=not time) for s in sets]
        speed = "-" if row.speedup is None else f"{row.speedup:.2f}"
        latency = [f"{row.p50_ms:.1f}" if row.p50_ms else "-", speed] if time else []
        table.add_row(row.name, quantity(row.params), quantity(row.macs_720p),
                      f"{row.bytes / 1000:.0f}", *figures, *latency)  # fmt: skip
    protocols = {q["protocol"] for row in rows for name, q in row.quality.items() if name in sets}
    table.caption = Text(f"PSNR-Y dB{'' if time else ' / SSIM'}: {', '.join(sorted(protocols))}")
    show(table)
    if time:
        for note in _timing(input_size or "240x160", threads):
            say(note)


def _timing(size: str, threads: int | None) -> list[str]:
    """What the times are of."""
    from srdeploy.runtime.cpu import cpu_model
    from srdeploy.runtime.session import default_threads

    count = threads or default_threads()
    return [
        f"ms: p50 in onnxruntime, LR {size}, {count} thread{'s' if count != 1 else ''}, on "
        f"{cpu_model()}, the networks of a scale in turns",
        "faster: than the scale's first, median of the ratios of neighbouring turns; load that "
        "comes and goes moves the quotient of the ms more than this",
    ]


def _quality(figures: dict[str, Any] | None, ssim: bool) -> str:
    """One set's cell; latency takes SSIM's room in 80 columns."""
    if figures is None:
        return "-"
    psnr = f"{figures['psnr_y']:.2f}"
    return f"{psnr} / {figures['ssim_y']:.4f}" if ssim else psnr
