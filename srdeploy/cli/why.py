"""``srdeploy bench A B --why``: from options to the table and its verdict."""

from __future__ import annotations

from typing import Any

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, essential, quantity, say, show
from srdeploy.errors import UserError


def refuse_others(given: dict[str, Any]) -> None:
    """See that no option was given that profiling would silently ignore.

    Args:
        given: What was given for each; None or False where it was not.

    Raises:
        UserError: one was.
    """
    if extra := [name for name, value in given.items() if value not in (None, False)]:
        raise UserError(
            f"--why profiles two artifacts on this machine, in onnxruntime; leave out "
            f"{', '.join(extra)}."
        )


def tell_why(
    artifacts: list[str],
    data: str,
    scale: int | None,
    input_size: str | None,
    runs: int | None,
    threads: int | None,
    arch: str | None,
    value_range: float | None,
    json: bool,
) -> None:
    """Profile two artifacts and print where the time goes.

    Raises:
        UserError: not exactly two artifacts, or one that onnxruntime does not run.
    """
    from srdeploy.benchmarking.deciding.why_run import why
    from srdeploy.runtime.open import scale_of

    if len(artifacts) != 2:
        raise UserError(f"--why compares two artifacts, not {len(artifacts)}.")
    options = o.given(arch=arch, value_range=value_range)
    found = why(
        *artifacts,
        data=data,
        scale=scale or scale_of(artifacts[0], **options),
        size=o.size_of(input_size) if input_size else None,
        runs=runs or 20,
        threads=threads,
        options=options,
    )
    if json:
        emit(found.to_dict())
        return
    show(_table(found))
    say(f"{found.speedup:.2f} times faster; the MACs are {found.macs_ratio:.2f} times fewer.")
    for sentence in (*found.verdicts, *found.advice):
        say(f"  {sentence}")


def _table(found: Any) -> Any:
    """One row per layer, for 80 columns: the first file's figure above the second's."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from srdeploy.benchmarking.deciding.why import aligned

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", overflow="fold", min_width=16)
    for name in ("widths", "MACs\nfewer", "times\nfaster", "ms", f"x{found.block}", "bytes\nmoved"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("time follows")
    for pair in essential(found.pairs, lambda pair: pair.before.ms, "layers"):
        before, after = pair.before, pair.after
        widths = [f"{one.inputs}>{one.outputs}" for one in (before, after)]
        table.add_row(
            after.layer,
            "\n".join(dict.fromkeys(widths)),
            f"{pair.macs_ratio:.2f}",
            f"{pair.time_ratio:.2f}",
            f"{before.ms:.2f}\n{after.ms:.2f}",
            "yes" if aligned(after, found.block) else "no",
            f"{quantity(before.bytes)}\n{quantity(after.bytes)}",
            pair.kind,
        )
    for name, (before, after) in found.others.items():
        table.add_row(Text(name, style="dim"), "", "", "", f"{before:.2f}\n{after:.2f}", "", "", "")
    return table
