"""``srdeploy bench sparse``: where skipping pixels begins to pay."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.bench import group
from srdeploy.cli.output import emit, say, show


def register(app: typer.Typer) -> None:
    """Add the command to the ``bench`` group."""
    group.command("sparse")(bench_sparse)


def bench_sparse(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="An SMSR network; default: random weights."),
    ] = None,
    sides: Annotated[
        str, typer.Option(metavar="N,N", help="Sides of the square images, in pixels.")
    ] = "64,128,256",
    device: Annotated[str, typer.Option(help="Where to measure: local.")] = "local",
    kernel: Annotated[
        str, typer.Option(metavar="auto|native|torch", help="What computes at listed pixels.")
    ] = "auto",
    runs: Annotated[int, typer.Option(min=1, help="Of each, of which the shortest counts.")] = 7,
    threads: o.Threads = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the chart here (.svg).")
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Time SMSR's sparse and dense forms against density and size; say where sparse pays.

    **Examples**

    `srdeploy bench sparse`

    `srdeploy bench sparse SMSR_X2.pt --sides 128,256,512 --threads 2 -o break-even.svg`
    """
    from srdeploy.benchmarking.measuring.sparse import break_even
    from srdeploy.errors import unknown_name
    from srdeploy.sparse.backend import BACKENDS
    from srdeploy.util.files import atomic_path, check_output, require_suffix

    if device != "local":
        raise unknown_name("device of this measurement", device, ["local"])
    if kernel not in BACKENDS:
        raise unknown_name("kernel", kernel, BACKENDS)
    if output is not None:
        require_suffix(output, (".svg",), "a chart")
        check_output(output)
    found = break_even(file, sides=_sides(sides), threads=threads, backend=kernel, repeats=runs)
    if output is not None:
        with atomic_path(output) as temporary:
            temporary.write_text(found.chart(), encoding="utf-8")
    if json:
        emit(found.to_dict())
        return
    show(_table(found))
    say(f"Rows are computed by {found.reason}; {found.threads} threads.")
    for sentence in found.sentences():
        say(sentence)


def _sides(text: str) -> list[int]:
    from srdeploy.errors import UserError

    try:
        return [int(part) for part in o.listed(text)]
    except ValueError:
        raise UserError(f"--sides '{text}' is no list of sizes; write e.g. 64,256.") from None


def _table(found: Any) -> Any:
    """Milliseconds per size and density, the dense form beside them."""
    from rich.table import Table

    densities = found.sizes[0].densities if found.sizes else []
    shown = [number for number, d in enumerate(densities) if round(d * 100) % 20 == 0]
    table = Table("ms")
    for head in ("dense", *(f"{densities[n]:.0%}" for n in shown)):
        table.add_column(head, justify="right")
    for one in found.sizes:
        cells = (f"{one.rows_ms[n]:.2f}" for n in shown)
        table.add_row(f"{one.side}x{one.side}", f"{one.dense_ms:.2f}", *cells)
    return table
