"""``srdeploy bench``: measuring, and what is done with measurements."""

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from srdeploy.cli import options as o
from srdeploy.cli.output import emit

_DEFAULT = "measure"


class _Group(typer.core.TyperGroup):
    """``bench ARTIFACT...`` measures; ``bench NAME ...`` with a sub-command's name is that."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        names = self.commands.keys() - {_DEFAULT}
        if args and args[0] in names:
            return super().make_context(info_name, args, *rest, **extra)
        return self.commands[_DEFAULT].make_context(info_name, args, *rest, **extra)


group = typer.Typer(cls=_Group, help="Measure artifacts on devices.")
"""Sub-commands register themselves here."""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group.command(_DEFAULT, hidden=True)(bench)
    app.add_typer(group, name="bench")


def bench(
    artifacts: Annotated[
        list[str],
        typer.Argument(
            metavar="ARTIFACT...", help="Networks and artifacts; ratios refer to the first."
        ),
    ],
    data: o.Data = "builtin",
    scale: o.Scale = None,
    device: Annotated[str, typer.Option(help="Where to measure: local.")] = "local",
    scenario: Annotated[
        Path | None, typer.Option(help="A YAML file of conditions (configs/scenarios/).")
    ] = None,
    input_size: o.InputSize = None,
    runs: o.Runs = None,
    seconds: o.Seconds = None,
    quality: Annotated[bool, typer.Option(help="Measure PSNR and SSIM too.")] = True,
    protocol: o.ProtocolName = None,
    runtime: o.RuntimeName = None,
    threads: o.Threads = None,
    arch: o.Arch = None,
    value_range: o.ValueRange = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why", help="Of two: time per layer against arithmetic, widths and memory traffic."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Append every turn and row here as JSON lines."),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Measure latency, memory and quality; artifacts take turns, so that ratios are fair.

    **Examples**

    `srdeploy bench dense.onnx pruned.onnx --data Set5 --scale 2`

    `srdeploy bench edsr-s-x2 edsr-s-x2.onnx --input 480x270 --no-quality --json`

    `srdeploy bench dense.onnx pruned.onnx --why`
    """
    from srdeploy.bench.run import bench as run_bench
    from srdeploy.measure.scenario import Scenario, read_scenario
    from srdeploy.errors import unknown_name
    from srdeploy.strict import parse

    if device != "local":
        raise unknown_name("device", device, ["local"])
    if why:
        from srdeploy.cli.why import tell_why

        tell_why(artifacts, data, scale, input_size, runs, threads, arch, value_range, json)
        return
    base = read_scenario(scenario) if scenario else Scenario()
    settings = base.model_dump() | o.given(
        inputs=o.parse_size(input_size) if input_size else None,
        min_runs=runs,
        min_seconds=seconds,
        protocol=protocol,
    )
    if not quality:
        settings["quality"] = False
    options = o.given(arch=arch, value_range=value_range)
    rows = run_bench(
        artifacts,
        data=data,
        scale=scale or o.own_scale(artifacts[0], options),
        scenario=parse(Scenario, settings, where="These conditions"),
        runtime=runtime,
        threads=threads,
        options=options,
        journal=output,
    )
    if json:
        emit([row.model_dump(mode="json") for row in rows])
    else:
        from rich.console import Console

        from srdeploy.bench.table import latency_table

        Console().print(latency_table(rows))
    if any(row.error for row in rows):
        raise typer.Exit(1)
