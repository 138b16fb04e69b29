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
    runtime: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Runtimes of dense forms; default: all installed."),
    ] = None,
    kernel: Annotated[
        str,
        typer.Option(
            metavar="auto|native|torch",
            help="What computes at listed pixels in the Python engine.",
        ),
    ] = "auto",
    eval_data: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Also time and judge all forms on these images."),
    ] = None,
    max_drop: Annotated[float, typer.Option(min=0, help="dB that a form may lose to count.")] = 0.1,
    runs: Annotated[int, typer.Option(min=1, help="Of each, in turns; the median counts.")] = 7,
    threads: o.Threads = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the chart here (.svg).")
    ] = None,
    dispatch: Annotated[
        Path | None,
        typer.Option(help="Write what is fastest when here (.dispatch), artifacts beside it."),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Time SMSR skipping pixels against its dense forms in every runtime; say where it pays.

    **Examples**

    `srdeploy bench sparse`

    `srdeploy bench sparse SMSR_X2.pt --eval-data Set5 --threads 2 -o break-even.svg`

    `srdeploy bench sparse SMSR_X2.pt --dispatch smsr.dispatch`
    """
    from srdeploy.benchmarking.measuring.smsr_forms import DENSE
    from srdeploy.benchmarking.measuring.sparse import break_even
    from srdeploy.errors import unknown_name
    from srdeploy.runtime.dispatch import SUFFIX
    from srdeploy.sparse.backend import BACKENDS
    from srdeploy.util.files import atomic_path, check_output, require_suffix

    if device != "local":
        raise unknown_name("device of this measurement", device, ["local"])
    if kernel not in BACKENDS:
        raise unknown_name("kernel", kernel, BACKENDS)
    runtimes = None if runtime is None else o.listed(runtime)
    for one in runtimes or ():
        if one not in DENSE:
            raise unknown_name("runtime of dense forms", one, DENSE)
    for path, suffix, what in ((output, ".svg", "a chart"), (dispatch, SUFFIX, "a dispatch file")):
        if path is not None:
            require_suffix(path, (suffix,), what)
            check_output(path)
    found = break_even(
        file,
        sides=_sides(sides),
        threads=threads,
        backend=kernel,
        repeats=runs,
        images=eval_data,
        drop=max_drop,
        runtimes=runtimes,
        dispatch=dispatch,
    )
    if output is not None:
        with atomic_path(output) as temporary:
            temporary.write_text(found.chart(), encoding="utf-8")
    if json:
        emit(found.to_dict())
        return
    for size in found.sizes:
        show(_table(found, size))
    say(f"{found.backend}; {found.threads} threads, medians of {found.repeats} turns.")
    for name, reason in found.missing.items():
        say(f"Left out: {name} ({reason}).")
    for sentence in found.sentences():
        say(sentence)


def _sides(text: str) -> list[int]:
    from srdeploy.errors import UserError

    try:
        return [int(part) for part in o.listed(text)]
    except ValueError:
        raise UserError(f"--sides '{text}' is no list of sizes; write e.g. 64,256.") from None


def _table(found: Any, size: Any) -> Any:
    """Milliseconds of every form by share of pixels inside the masks, and what the form loses."""
    from rich.table import Table

    from srdeploy.benchmarking.measuring.smsr_forms import REFERENCE

    shown = [number for number, d in enumerate(size.densities) if round(d * 100) % 50 == 0]
    table = Table(f"ms at {size.side}x{size.side}")
    for head in (*(f"{size.densities[n]:.0%}" for n in shown), "PSNR", "lost"):
        table.add_column(head, justify="right")
    forms = {form: [ms] * len(size.densities) for form, ms in size.dense_ms.items()}
    for form, ms in {**forms, **size.sparse_ms}.items():
        quality = ["", ""]
        if found.psnr:
            lost = found.psnr[REFERENCE] - found.psnr[form]
            quality = [f"{found.psnr[form]:.2f}", f"{lost:.3f}"]
        table.add_row(form, *(f"{ms[n]:.2f}" for n in shown), *quality)
    return table
