"""The command that puts artifacts side by side."""

from typing import Annotated

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import console, emit, say


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(compare)


def compare(
    artifacts: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...", help="Networks and artifacts; the first is what others are held to."
        ),
    ],
    data: o.Data = "builtin",
    scale: o.Scale = None,
    input_size: o.InputSize = None,
    runs: o.Runs = None,
    seconds: o.Seconds = None,
    threads: o.Threads = None,
    arch: o.Arch = None,
    value_range: o.ValueRange = None,
    dense: o.Dense = None,
    json: o.AsJson = False,
) -> None:
    """Compare artifacts: latency, quality, outputs, and the first layer where they part.

    **Example**

    `srdeploy compare tuned.safetensors tuned.onnx tuned-int8.onnx --eval-data Set5`
    """
    from srdeploy.benchmarking.deciding.compare import compare as run_compare
    from srdeploy.measure.scenario import Scenario
    from srdeploy.runtime.open import scale_of
    from srdeploy.util.strict import parse

    settings = o.given(
        inputs=o.size_of(input_size) if input_size else None,
        min_runs=runs,
        min_seconds=seconds,
    )
    options = o.given(arch=arch, value_range=value_range)
    found = run_compare(
        artifacts,
        data=data,
        scale=scale or scale_of(artifacts[0], **options),
        scenario=parse(Scenario, settings, where="These conditions"),
        threads=threads,
        options=options,
        dense=dense,
    )
    if json:
        emit(found.to_dict())
    else:
        from srdeploy.benchmarking.showing.compare_table import parity_lines
        from srdeploy.benchmarking.showing.table import group_tables
        from srdeploy.util.quiet import is_verbose

        width, everything = console().width, is_verbose()
        console().print(*group_tables(found.rows, width=width, everything=everything), sep="\n")
        for line in parity_lines(found, everything):
            say(line)
    if any(row.error for row in found.rows):
        raise typer.Exit(1)
