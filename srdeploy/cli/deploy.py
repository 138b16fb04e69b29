"""Commands that leave PyTorch behind: export and its relatives."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import complete
from srdeploy.cli import options as o
from srdeploy.cli.exporters import with_options
from srdeploy.cli.output import emit, essential, mark, note, say, show, write
from srdeploy.exporting.targets import TARGETS, find_target, target_for


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("export", cls=with_options(export), help=export.__doc__)(lambda: None)
    app.command()(rebuild)
    app.command()(targets)


def export(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A network; for ONNX and TensorRT also an .onnx file, ours or foreign.",
            autocompletion=complete.networks,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to; default: the file's name, here; an .onnx file's with its precision.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="{targets}; `srdeploy targets` tells what each needs. Default: by the "
            "ending of the output (.engine: trt), else onnx.",
            autocompletion=complete.targets,
            callback=o.in_our_words(TARGETS),
        ),
    ] = None,
    *,
    arch: o.Arch = None,
    scale: o.Scale = None,
    value_range: o.ValueRange = None,
    json: o.AsJson = False,
    **asked: Any,
) -> None:
    """Turn a network, or an ONNX file, into an artifact, and check it against what it is made of.

    **Examples**

    `srdeploy export tuned.safetensors --check trt -o tuned.onnx`

    `srdeploy export tuned.safetensors --precision fp16 -o tuned.mlpackage`

    `srdeploy export tuned.safetensors --precision int8 --max-drop 0.05 -o tuned-int8.onnx`

    `srdeploy export foreign.onnx --precision int8 --value-range 255 -o foreign-int8.onnx`

    `srdeploy export tuned.onnx --target trt-rtx --sm 8.9 --input 480x270`
    """
    from srdeploy.errors import UserError
    from srdeploy.exporting.run import export as run_export

    row = find_target(target or "onnx") if output is None else target_for(output, target)
    source: Any = Path(file)
    from_onnx = source.suffix.lower() == ".onnx"
    if from_onnx:
        if arch is not None:
            raise UserError("--arch is for checkpoints; an .onnx file says what it computes.")
        asked["scale"] = scale
    options = o.given(value_range=value_range, **asked)
    row.check_source(options, from_onnx=from_onnx)
    row.check_options(options)
    if not from_onnx:
        from srdeploy.models.load import load_network

        source = load_network(file, arch=arch, scale=scale)
    precision = asked["precision"] or row.precisions[0]
    ending = f"-{precision}" if from_onnx and row.suffix == ".onnx" else ""
    path = output or Path(f"{Path(file).stem}{ending}{row.suffix}")
    report = run_export(source, row.name, path, **options)
    _tell(report, json, from_onnx)


def rebuild(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE", help="An .engine of srdeploy's.")],
    device: Annotated[
        str,
        typer.Option(metavar="URI", help="Where to build it: local, or a board: ssh://user@host."),
    ] = "local",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Bring it here as this file; default: in its place."),
    ] = None,
    leave: Annotated[
        bool, typer.Option("--leave", help="Leave it on the board; nothing here changes.")
    ] = False,
    emit_script: Annotated[
        Path | None,
        typer.Option(help="Also write what rebuilds it elsewhere: .py, or .sh for trtexec."),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Build a TensorRT engine again from the ONNX beside it, for the GPU and TensorRT of a device.

    On a board its own trtexec builds (TensorRT 8.5 to 11); the engine stays in our folder there,
    with its sidecar, and is brought here.

    **Examples**

    `srdeploy rebuild tuned.engine`

    `srdeploy rebuild tuned.engine --device ssh://me@orin -o tuned-orin.engine`

    `srdeploy rebuild tuned.engine --device ssh://me@orin --leave`
    """
    from srdeploy.errors import UserError
    from srdeploy.util.files import require_suffix

    if output is not None:
        require_suffix(output, (".engine",), "a TensorRT engine")
    if device == "local":
        from srdeploy.exporting.tensorrt.export import rebuild_engine

        if output is not None or leave:
            raise UserError("--output and --leave are for boards; name one with --device.")
        report = rebuild_engine(engine, emit_script=emit_script)
    else:
        from srdeploy.devices.ssh.rebuild import rebuild_on

        if emit_script is not None:
            raise UserError("--emit-script is for engines built here; leave --device out.")
        report = rebuild_on(device, engine, None if leave else output or engine)
    _tell(report, json)


def targets(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The table of export/TARGETS.md.")
    ] = False,
    json: o.AsJson = False,
) -> None:
    """List what a network can be turned into, and what this machine can build and run.

    **Example**

    `srdeploy targets --json`
    """
    from srdeploy.exporting.targets import targets_markdown
    from srdeploy.runtime.table import RUNTIMES
    from srdeploy.util.plugins import problems

    rows = [row.to_dict() for row in TARGETS.values()]
    if json:
        emit(rows)
        return
    if markdown:
        write(targets_markdown().rstrip())
        return
    from rich.table import Table

    view = Table("target", "artifact", "precisions", "builds here", "runs here")
    for row in rows:
        states = (mark(row[state]) for state in _STATES)
        view.add_row(row["name"], row["title"], ", ".join(row["precisions"]), *states)
    show(view)
    for row in rows:
        here = [name for name, can in row["runtimes"].items() if can["here"]]
        if len(here) > 1:
            say(f"{row['name']} runs here in {', '.join(here)} (--runtime).")
        for state, verb in _STATES.items():
            if not row[state]:
                say(f"{row['name']} cannot be {verb} here: {row[state + '_reason']}.")
    for problem in problems(TARGETS, RUNTIMES):
        note(problem)


_STATES = {"builds_here": "built", "runs_here": "run"}


def _tell(report: Any, json: bool, from_onnx: bool = False) -> None:
    from srdeploy.exporting.report import parity_told

    if json:
        emit(report.to_dict())
        return
    title = TARGETS[report.target].title
    say(f"{report.path}: {title}, {report.precision}, {report.bytes / 1024:,.0f} KiB")
    if report.parity is not None:
        engine = TARGETS[report.target].suffix == ".engine"
        reference = "its ONNX" if from_onnx or engine else "PyTorch"
        parity = report.parity
        say(f"  {parity_told(report.precision, parity.tolerance, parity.sizes, reference)}")
        if parity.light < 1:
            say(
                f"  compared on photographs dimmed to {parity.light:.1e}: on others, "
                "rounding to float32 alone changes what this network answers; fine-tune it"
            )
        elif parity.in_float64:
            say(
                "  compared in float64: rounding to float32 alone changes what this network "
                "answers; fine-tune it"
            )
    for remark in report.notes:
        say(f"  {remark}")
    if report.layers:
        otherwise = essential(
            report.layers, lambda row: row.get("precision") != report.precision, "layers"
        )
        show(_layer_table(otherwise))


def _layer_table(layers: list[dict[str, Any]]) -> Any:
    """One row per layer of a reduced precision, with the columns that there are."""
    from rich.table import Table

    columns = list(dict.fromkeys(key for row in layers for key in row))
    view = Table()
    for column in columns:
        figures = any(isinstance(row.get(column), (int, float)) for row in layers)
        head = _LAYER_COLUMNS.get(column, column)
        view.add_column(head, justify="right" if figures else "left")
    for row in layers:
        values = (row.get(column, "") for column in columns)
        view.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values))
    return view


_LAYER_COLUMNS = {"max_abs": "largest |x|", "headroom": "below 65504"}
