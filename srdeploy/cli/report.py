"""``srdeploy report``: results as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, say


def report(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RESULTS...",
            help="Stores, JSON of `srdeploy bench` or `srdeploy results`, folders of runs.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page, an .html file.")
    ] = Path("report.html"),
    baseline: Annotated[
        list[Path] | None,
        typer.Option(metavar="RESULTS", help="Hold the results against these; may be repeated."),
    ] = None,
    max_slowdown: Annotated[
        str, typer.Option(metavar="5%", help="With --baseline: still accepted.")
    ] = "5%",
    max_drop: Annotated[
        float, typer.Option(metavar="DB", min=0, help="With --baseline: still accepted.")
    ] = 0.05,
    data: Annotated[
        str,
        typer.Option("--eval-data", metavar="DIR", help="Set that pictures are of; `builtin`."),
    ] = "builtin",
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Of the page.")] = None,
    json: o.AsJson = False,
) -> None:
    """Write one page with everything about results: summary, plots, pictures, tables, method.

    It is a single file that loads nothing from elsewhere: send it, open it on a phone. What was not
    measured is left out.

    **Examples**

    `srdeploy report runs/demo -o report.html`

    `srdeploy report results.sqlite rows.json -o report.html`

    `srdeploy report new.sqlite --baseline old.sqlite -o report.html`
    """
    from srdeploy.benchmarking.deciding.verdict import Limits
    from srdeploy.reporting.page import write_report

    limits = Limits(max_slowdown=o.share(max_slowdown), max_drop=max_drop)
    found = write_report(results or [], output, baseline, images=data, limits=limits, title=title)
    for remark in found.remarks:
        note(remark)
    if json:
        emit(found.to_dict())
        return
    for sentence in found.sentences:
        say(sentence)
    say(f"{found.output}: {', '.join(found.sections)}")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)
