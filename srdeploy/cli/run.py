"""The command that runs a recipe of the whole line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import complete
from srdeploy.cli import options as o
from srdeploy.cli.output import emit, note, say, show


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(run)


def run(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="A YAML file, or the name of a shipped recipe.",
            autocompletion=complete.recipes,
        ),
    ] = None,
    changes: o.Changes = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and why; do nothing.")
    ] = False,
    run_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run's folder; default: runs/<name>.")
    ] = None,
    allow_code: Annotated[
        bool,
        typer.Option(
            "--allow-code",
            help="Let the recipe import a network's code (arch: module:callable) and choose "
            "programs for devices (config=, trtexec=...): only where you trust it.",
        ),
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")
    ] = False,
    json: o.AsJson = False,
) -> None:
    """Run the whole line as a recipe says: prune, fine-tune, export, measure, report.

    Every stage has its folder in the run's, with a card of what was made, how and out of what. A
    stage whose inputs and settings have not changed is skipped; the same command resumes a run
    that was interrupted, in the middle of training too. Without RECIPE the shipped ones are listed.

    **Examples**

    `srdeploy run demo --dry-run`

    `srdeploy run demo --set prune.ratio=0.3 --set train.iterations=500`

    `srdeploy run mine.yaml --run-dir runs/mine-2 --json`
    """
    if schema:
        from srdeploy.line.schema import line_schema

        emit(line_schema())
        return
    if recipe is None:
        _list(json)
        return
    from srdeploy.line.axes import find_line
    from srdeploy.line.recipe import read_line
    from srdeploy.line.run import left_over, plan_line
    from srdeploy.train.run_folder import usual_folder

    line = read_line(find_line(recipe), changes or ())
    root = run_dir or usual_folder(line.name)
    if not dry_run:
        _run(line, root, _again(recipe, changes or (), run_dir, allow_code), allow_code, json)
        return
    planned = plan_line(line, root, allow_code=allow_code)
    left = left_over([one.stage for one in planned], root)
    if json:
        stages = [
            {"stage": one.stage.name, "what": one.stage.what, "state": one.state.kind,
             "why": one.state.why}
            for one in planned
        ]  # fmt: skip
        emit({"name": line.name, "folder": str(root), "stages": stages, "left_over": left})
    else:
        _show(planned, root, left)
    if any(one.state.kind == "blocked" for one in planned):
        raise typer.Exit(2)


def _list(json: bool) -> None:
    from srdeploy.line.recipe import read_line
    from srdeploy.util.shipped import LINES, shipped

    rows = [read_line(path) for path in shipped(LINES).values()]
    if json:
        emit([{"name": row.name, "description": row.description} for row in rows])
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    view = Table("recipe", "what it does", box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        view.add_row(row.name, row.description)
    show(view)


_VERBS = {"current": "skip", "resume": "resume", "run": "run", "blocked": "cannot run"}


def _show(planned: list[Any], root: Path, left: list[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    view = Table(box=SIMPLE_HEAD, pad_edge=False)
    view.add_column("stage", no_wrap=True)
    view.add_column("would", no_wrap=True)
    for name in ("why", "what"):
        view.add_column(name, overflow="fold")
    for one in planned:
        cells = (_VERBS[one.state.kind], one.state.why, one.stage.what)
        view.add_row(one.stage.name, *(Text(cell) for cell in cells))
    show(view)
    say(f"in {root}")
    for name in left:
        say(f"{name} is not in the recipe any more; it stays as it is")


def _run(line: Any, root: Path, again: str, allow_code: bool, json: bool) -> None:
    from srdeploy.line.run import run_line
    from srdeploy.reporting.run_folder import BENCH, PAGE, REPORT, ROWS, TABLE

    def before(stage: Any, state: Any) -> None:
        doing = {"current": "unchanged", "resume": "going on"}.get(state.kind, state.why)
        note(f"{stage.name}: {stage.what} ({doing})")

    done = run_line(line, root, again=again, allow_code=allow_code, on_stage=before)
    rows = root / BENCH / ROWS
    if json:
        import json as json_module

        emit({
            "name": line.name,
            "folder": str(root),
            "stages": [
                {"stage": one.stage.name, "state": one.state.kind, "why": one.state.why,
                 "sha256": one.card.sha256, "outputs": one.card.outputs,
                 "seconds": one.card.seconds, "figures": one.card.figures}
                for one in done
            ],
            "rows": json_module.loads(rows.read_text()) if line.scenarios else [],
        })  # fmt: skip
        return
    if line.scenarios:
        say((root / BENCH / TABLE).read_text(encoding="utf-8").rstrip())
        say()
        say(f"the report: {root / REPORT / PAGE}")
    made = sum(one.state.kind != "current" for one in done)
    say(f"{root}: {made} of {len(done)} stages made, {len(done) - made} unchanged")


def _again(recipe: str, changes: Any, run_dir: Path | None, allow_code: bool) -> str:
    words = ["srdeploy", "run", recipe]
    for change in changes:
        words += ["--set", change]
    if run_dir is not None:
        words += ["--run-dir", str(run_dir)]
    words += ["--allow-code"] if allow_code else []
    return shlex.join(words)
