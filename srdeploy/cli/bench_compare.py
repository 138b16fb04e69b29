"""``srdeploy bench compare``: the decision that a pipeline needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.bench import group, scenarios_of
from srdeploy.cli.output import emit, say, show


def register(app: typer.Typer) -> None:
    """Add the sub-command to ``bench``."""
    group.command("compare")(compare)


def compare(
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE",
            help="A store, an exported .json, or one artifact of it (FILE#ARTIFACT); or an "
            "artifact, to be measured now.",
        ),
    ],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same, to be judged.")],
    max_slowdown: Annotated[
        str | None, typer.Option(metavar="5%", help="Fail when median times grow by more.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(metavar="DB", min=0, help="Fail when more PSNR is lost.")
    ] = None,
    allow_noisy: Annotated[
        bool, typer.Option("--allow-noisy", help="Exit with 0 where the samples cannot tell.")
    ] = False,
    scenario: o.ScenarioNames = None,
    device: o.Devices = "local",
    data: o.Data = "builtin",
    scale: o.Scale = None,
    input_size: o.InputSize = None,
    runs: o.Runs = None,
    seconds: o.Seconds = None,
    threads: o.Threads = None,
    repeats: o.Repeats = 1,
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the table as Markdown ($GITHUB_STEP_SUMMARY)."),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Decide whether NEW is slower or worse than BASE: pass, fail, or too noisy to tell.

    The interval of the slowdown decides: below the limit it passes, above it fails, across it
    nobody can tell from these samples. The exit code is 0 when everything passes, else 1.
    Artifacts that are measured now take turns, which is the surest comparison; the options from
    --scenario to --repeats are for them, and measurements of stores are chosen by the first two.

    **Examples**

    `srdeploy bench compare main.sqlite branch.sqlite --max-slowdown 5% --max-drop 0.05`

    `srdeploy bench compare results.sqlite#dense.onnx results.sqlite#pruned.onnx`

    `srdeploy bench compare main.onnx branch.onnx --max-slowdown 5% --scenario quick --repeats 5`
    """
    from srdeploy.benchmarking.deciding.baseline import is_stored, measured_pair, stored_pair
    from srdeploy.benchmarking.deciding.verdict import Limits, judge
    from srdeploy.errors import UserError
    from srdeploy.runtime.open import scale_of

    limits = Limits(None if max_slowdown is None else o.share(max_slowdown), max_drop)
    kept = [is_stored(side) for side in (base, new)]
    if all(kept):
        sides = stored_pair(
            base, new, scenario=scenario, device=None if device == "local" else device
        )
    elif any(kept):
        other = new if kept[0] else base
        raise UserError(
            f"'{other}' is no store of results, the other side is; name two stores, or two "
            "artifacts to be measured now."
        )
    else:
        sides = measured_pair(
            base,
            new,
            o.places(device),
            scenarios_of(
                scenario,
                input_size,
                max_drop is not None,
                min_runs=runs,
                min_seconds=seconds,
            ),
            repeats=repeats,
            scale=scale or scale_of(base),
            data=data,
            threads=threads,
        )
    found = judge(sides.base, sides.new, limits, same_names=sides.same_names)
    _tell(found, markdown, json)
    if found.verdict == "fail" or (found.verdict == "noisy" and not allow_noisy):
        raise typer.Exit(1)


def _tell(found: Any, page: Path | None, json: bool) -> None:
    from srdeploy.benchmarking.showing.verdict_table import markdown, notes, verdict_table
    from srdeploy.util.files import space_for

    if page is not None:
        with space_for(page), open(page, "a", encoding="utf-8") as stream:
            stream.write(markdown(found) + "\n")
    if json:
        emit(found.to_dict())
        return
    table = verdict_table(found)
    show(table, together=len(table.columns) - 1)
    for sentence in notes(found):
        say(sentence)
