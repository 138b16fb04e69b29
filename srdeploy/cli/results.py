"""Commands around measurements: what can be measured and where, and what was measured."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import complete
from srdeploy.cli import options as o
from srdeploy.cli.output import emit, mark, note, say, show, write


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(scenarios)
    app.command()(devices)
    app.command()(results)


def scenarios(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Show all settings of one.", autocompletion=complete.scenario
        ),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """List the scenarios that `srdeploy bench --scenario` knows, or the settings of one.

    One's own is a YAML file with the settings that differ from the defaults, or with
    `base: OTHER.yaml` from another file.

    **Examples**

    `srdeploy scenarios`

    `srdeploy scenarios mobile-540p`
    """
    from srdeploy.measure.scenario import find_scenario
    from srdeploy.util.shipped import shipped_scenarios

    if name is not None:
        one = find_scenario(name)
        values = one.model_dump(mode="json")
        if json:
            emit(values)
            return
        import yaml

        write(yaml.safe_dump(_written(values), sort_keys=False).rstrip())
        return
    found = [find_scenario(known) for known in shipped_scenarios()]
    if json:
        emit([one.model_dump(mode="json") for one in found])
        return
    view = _view("scenario", "what it measures")
    for one in found:
        view.add_row(one.name, one.description)
    show(view)


def devices(json: o.AsJson = False) -> None:
    """List the kinds of devices that `srdeploy bench --device` knows, and what each needs.

    **Example**

    `srdeploy devices`
    """
    from srdeploy.devices.table import KINDS
    from srdeploy.util.plugins import problems

    rows = []
    for kind in KINDS.values():
        found = kind.availability()
        rows.append(
            {
                "kind": kind.name,
                "title": kind.title,
                "example": kind.example,
                "available": bool(found),
                "reason": found.reason,
            }
        )
    if json:
        emit(rows)
        return
    view = _view("URI", "here", "what it is")
    for row in rows:
        view.add_row(row["example"], mark(row["available"]), row["title"])
    show(view)
    for row in rows:
        if not row["available"]:
            say(f"{row['kind']} is not usable here: {row['reason']}.")
    for problem in problems(KINDS):
        note(problem)


def results(
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="A file of `srdeploy bench --store`.")
    ],
    artifact: Annotated[
        str, typer.Option(metavar="PATTERN", help="Only these, e.g. 'pruned*.onnx'.")
    ] = "*",
    device: Annotated[str, typer.Option(metavar="PATTERN", help="Only these, e.g. 'ssh:*'.")] = "*",
    scenario: Annotated[str, typer.Option(metavar="PATTERN", help="Only these.")] = "*",
    failed: Annotated[bool, typer.Option(help="Show failures too.")] = True,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Export: .json (everything, raw samples too) or .csv (a line per measurement).",
        ),
    ] = None,
    samples: Annotated[
        bool, typer.Option("--samples", help="In a .csv: a line per raw sample.")
    ] = False,
    json: o.AsJson = False,
) -> None:
    """List or export measurements of a store.

    **Examples**

    `srdeploy results results.sqlite --scenario 'mobile-*'`

    `srdeploy results results.sqlite -o results.csv`

    `srdeploy results results.sqlite --artifact pruned.onnx -o pruned.json`
    """
    from srdeploy.measure.export import check_export, export_measurements
    from srdeploy.measure.store import Store

    check_export(output, samples)
    with Store.open(store, create=False) as opened:
        found = list(
            opened.measurements(artifact=artifact, device=device, scenario=scenario, failed=failed)
        )
    if output is not None:
        export_measurements(found, output, samples=samples)
    if json:
        emit([one.model_dump(mode="json") for one in found])
    elif output is not None:
        say(f"{output}: {len(found)} measurement{'s' if len(found) != 1 else ''}")
    else:
        _list(found, store)


def _list(found: list[Any], store: Path) -> None:
    from srdeploy.benchmarking.measuring.row import row_of
    from srdeploy.benchmarking.showing.table import milliseconds, quality_note, times_note
    from srdeploy.measure.export import summary

    if not found:
        say(f"{store} holds no such measurement.")
        return
    view = _view(
        "artifact", "device", "scenario", "input", "p50\nms", "p90\nms", "PSNR", "measured"
    )
    for column in view.columns[3:]:
        column.justify = "right"  # a figure
    for one in found:
        row = summary(one)
        scenario = row["scenario"] + (f" ({one.repeat + 1})" if one.repeat else "")
        size = f"{row['lr_width']}x{row['lr_height']}" if row["lr_width"] else ""
        psnr = "" if row["psnr"] is None else f"{row['psnr']:.2f}"
        times = [milliseconds(row[name]) for name in ("p50_ms", "p90_ms")]
        state = one.started[:10] if one.error is None else "failed"
        view.add_row(one.artifact, one.device, scenario, size, *times, psnr, state)
    show(view)
    rows = [row_of(one, one) for one in found]
    told = [*times_note(rows), *(quality_note(row) for row in rows if row.protocol)]
    for sentence in dict.fromkeys(told):
        say(sentence)
    for error in dict.fromkeys(one.error for one in found if one.error):
        say(f"failed: {error}")


def _written(values: dict[str, Any]) -> dict[str, Any]:
    """Settings as people write them: sizes with the width first."""
    sizes = [one if one == "median" else f"{one[1]}x{one[0]}" for one in values["inputs"]]
    return {k: v for k, v in values.items() if v is not None} | {"inputs": sizes}


def _view(*columns: str) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    view = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        view.add_column(name, overflow="fold")
    return view
