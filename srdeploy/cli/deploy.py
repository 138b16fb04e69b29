"""Commands that leave PyTorch behind: export and bench."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, say

_FLAGS = {"opset": "opset", "size": "input"}


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(export)
    app.command()(bench)


def export(
    file: o.NetworkFile,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to; default: the file's name, here."),
    ] = None,
    target: Annotated[str, typer.Option(help="onnx or coreml; see `srdeploy doctor`.")] = "onnx",
    opset: Annotated[
        int | None, typer.Option(help="ONNX operator set; default 17, which everything reads.")
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option("--input", metavar="WxH", help="Fixed input size (coreml); default: ranged."),
    ] = None,
    arch: o.Arch = None,
    scale: o.Scale = None,
    json: o.AsJson = False,
) -> None:
    """Turn a network into an artifact, and check the artifact against the network.

    **Examples**

    `srdeploy export tuned.safetensors --target onnx -o tuned.onnx`

    `srdeploy export edsr-s-x2 --target coreml -o edsr.mlpackage`
    """
    from srdeploy.errors import UserError
    from srdeploy.export.run import export as run_export
    from srdeploy.export.targets import find_target
    from srdeploy.models.load import load_network

    row = find_target(target)
    network = load_network(file, arch=arch, scale=scale)
    options: dict[str, Any] = {}
    if opset is not None:
        options["opset"] = opset
    if input_size is not None:
        options["size"] = _size(input_size)
    for option in options:
        if option not in row.options:
            raise UserError(
                f"--{_FLAGS[option]} does not apply to --target {target}; leave it out."
            )
    path = output or Path(Path(file).stem + row.suffix)
    report = run_export(network, target, path, **options)
    if json:
        emit(report.to_dict())
        return
    say(f"{report.path}: {row.title}, {report.precision}, {report.bytes / 1024:,.0f} KiB")
    if report.parity is not None:
        sizes = ", ".join(f"{w}x{h}" for h, w in report.parity.sizes)
        say(
            f"  equal to PyTorch within {report.parity.relative:.1e} of the value range "
            f"(inputs {sizes})"
        )
    for remark in report.notes:
        say(f"  {remark}")


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
    input_size: Annotated[
        str | None,
        typer.Option("--input", metavar="WxH", help="LR size; default: the set's median image."),
    ] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="At least so many (20).")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.0, help="At least so long (5).")] = None,
    quality: Annotated[bool, typer.Option(help="Measure PSNR and SSIM too.")] = True,
    protocol: o.ProtocolName = None,
    runtime: o.RuntimeName = None,
    threads: o.Threads = None,
    arch: o.Arch = None,
    value_range: Annotated[
        float | None, typer.Option(help="1 or 255, for foreign ONNX files.")
    ] = None,
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
    """
    from srdeploy.bench.run import bench as run_bench
    from srdeploy.bench.scenario import Scenario, read_scenario
    from srdeploy.errors import unknown_name
    from srdeploy.strict import parse

    if device != "local":
        raise unknown_name("device", device, ["local"])
    base = read_scenario(scenario) if scenario else Scenario()
    changes: dict[str, Any] = {
        "input": _size(input_size) if input_size else None,
        "min_runs": runs,
        "min_seconds": seconds,
        "protocol": protocol,
    }
    settings = base.model_dump() | {k: v for k, v in changes.items() if v is not None}
    if not quality:
        settings["quality"] = False
    options = {k: v for k, v in {"arch": arch, "value_range": value_range}.items() if v is not None}
    rows = run_bench(
        artifacts,
        data=data,
        scale=scale or _own_scale(artifacts[0], options),
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


def _own_scale(artifact: str, options: dict[str, Any]) -> int:
    from srdeploy.runtime.open import open_session

    with open_session(artifact, **options) as session:
        return session.card.scale


def _size(text: str) -> tuple[int, int]:
    from srdeploy.errors import UserError

    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise UserError(f"--input '{text}' is no size; write WIDTHxHEIGHT, e.g. 480x270.") from None
    return height, width
