"""``srdeploy bench``: measuring, and what is done with measurements."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import complete
from srdeploy.cli import options as o
from srdeploy.cli.help import CommandGroup
from srdeploy.cli.output import console, emit, note

_DEFAULT = "measure"
_JOB_SECONDS = 3600.0


class _Group(CommandGroup):
    """``bench ARTIFACT...`` measures; ``bench NAME ...`` with a sub-command's name is that."""

    @property
    def usual(self) -> Any:
        """What is run where no sub-command is named."""
        return self.commands[_DEFAULT]

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:
        names = self.commands.keys() - {_DEFAULT}
        if args and args[0] in names:
            return super().make_context(info_name, args, *rest, **extra)
        return self.usual.make_context(info_name, args, *rest, **extra)


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
            metavar="ARTIFACT...",
            help="Networks and artifacts; ratios refer to the first.",
            autocompletion=complete.networks,
        ),
    ],
    data: o.Data = "builtin",
    scale: o.Scale = None,
    device: o.Devices = "local",
    scenario: o.ScenarioNames = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep every result here as it comes, and skip what is there; with --farm the "
            "default is results.sqlite.",
        ),
    ] = None,
    repeats: o.Repeats = 1,
    input_size: o.InputSize = None,
    runs: o.Runs = None,
    seconds: o.Seconds = None,
    quality: Annotated[bool, typer.Option(help="Measure PSNR and SSIM too.")] = True,
    protocol: o.ProtocolName = None,
    runtime: o.RuntimeName = None,
    threads: o.Threads = None,
    arch: o.Arch = None,
    value_range: o.ValueRange = None,
    farm: o.FarmFile = None,
    devices: o.FarmDevices = None,
    job_limit: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="With --farm: end longer jobs.")
    ] = _JOB_SECONDS,
    apart: Annotated[
        bool,
        typer.Option("--apart", help="With --farm: spread artifacts over devices; no ratios."),
    ] = False,
    dense: o.Dense = None,
    why: Annotated[
        bool,
        typer.Option(
            "--why", help="Of two: time per layer against arithmetic, widths and memory traffic."
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Append every turn and row here as JSON lines (of a farm: rows)."
        ),
    ] = None,
    json: o.AsJson = False,
) -> None:
    """Measure latency, memory and quality; artifacts take turns, so that ratios are fair.

    `srdeploy scenarios` lists what can be measured, `srdeploy devices` where. Two measurements are
    held against each other by `srdeploy bench compare`.

    **Examples**

    `srdeploy bench dense.onnx pruned.onnx --eval-data Set5 --scale 2`

    `srdeploy bench edsr-s-x2 edsr-s-x2.onnx --input 480x270 --no-quality --json`

    `srdeploy bench dense.onnx pruned.onnx --device local,ssh://user@orin --scenario paper-set
    --store results.sqlite`

    `srdeploy bench dense.onnx pruned.onnx --why`

    `srdeploy bench *.onnx --farm lab/laptop --devices 'jetson-orin,pixel-*' --scenario paper-set`
    """
    if why:
        from srdeploy.cli.why import refuse_others, tell_why

        refuse_others({
            "--device": device != "local",
            "--scenario": scenario,
            "--store": store,
            "--repeats": repeats != 1,
            "--seconds": seconds,
            "--no-quality": not quality,
            "--protocol": protocol,
            "--runtime": runtime,
            "--farm": farm,
            "--devices": devices,
            "--job-limit": job_limit != _JOB_SECONDS,
            "--apart": apart,
            "--output": output,
            "--dense": dense,
        })  # fmt: skip
        tell_why(artifacts, data, scale, input_size, runs, threads, arch, value_range, json)
        return
    from srdeploy.benchmarking.measuring.plan import check_artifacts, plan
    from srdeploy.errors import UserError
    from srdeploy.runtime.open import scale_of
    from srdeploy.util.files import require_suffix

    if output is not None:
        require_suffix(output, (".jsonl", ".ndjson", ".json", ""), "a file of JSON lines")
    check_artifacts(artifacts)
    options = o.given(arch=arch, value_range=value_range)
    if farm is not None and dense is not None:
        raise UserError("--dense is for devices of this host, not for --farm: leave one out.")
    if farm is not None:
        from srdeploy.cli.farm import measure_on_farm, tags_asked

        places = tags_asked(farm, devices, device)
    elif devices is not None:
        raise UserError("--devices names devices of a farm: add --farm FILE, or use --device URI.")
    elif apart or job_limit != _JOB_SECONDS:
        raise UserError("--apart and --job-limit are for a farm's jobs: add --farm FILE.")
    else:
        places = o.places(device)
    batches = plan(
        places,
        scenarios_of(
            scenario,
            input_size,
            quality,
            min_runs=runs,
            min_seconds=seconds,
            protocol=protocol,
        ),
        repeats=repeats,
        scale=scale or scale_of(artifacts[0], **options),
        data=data,
        runtime=runtime,
        threads=threads,
        options=options,
        dense=dense,
    )
    kept = store or (Path("results.sqlite") if farm is not None else None)
    before = _sessions(kept)
    if farm is not None and kept is not None:
        rows = measure_on_farm(farm, artifacts, batches, kept, output, job_limit, apart)
        if store is None:
            note(f"the results are kept in '{kept}', here; --store FILE names another store")
    else:
        rows = _run(artifacts, batches, kept, output)
    if before and (known := [row for row in rows if row.session in before]):
        days = sorted({(row.started or "")[:10] for row in known})
        note(
            f"{len(known)} of {len(rows)} results were in '{kept}' already, measured "
            f"{' to '.join(dict.fromkeys((days[0], days[-1])))}, and are not measured again"
        )
    if json:
        emit([row.model_dump(mode="json") for row in rows])
    else:
        from srdeploy.benchmarking.showing.table import tables
        from srdeploy.util.quiet import is_verbose

        for table in tables(rows, console().width, is_verbose()):
            console().print(table)
    if any(row.error for row in rows):
        raise typer.Exit(1)


def scenarios_of(
    names: str | None, input_size: str | None, quality: bool, **conditions: Any
) -> list[Any]:
    """The scenarios asked for, with what the options change in them.

    Args:
        names: As the option has them.
        input_size: Likewise.
        quality: Whether to measure it, where the scenario does.
        conditions: Fields of a scenario, each None where no option was given.
    """
    from srdeploy.measure.scenario import Scenario, find_scenario
    from srdeploy.util.strict import parse

    changes = o.given(
        inputs=o.size_of(input_size) if input_size else None,
        quality=None if quality else False,
        **conditions,
    )
    if names is None:
        return [parse(Scenario, changes, where="These conditions")]
    found = [find_scenario(name) for name in o.listed(names)]
    changed = [one.model_dump() | changes for one in found]
    for one, values in zip(found, changed, strict=True):
        if values != one.model_dump():  # it is not what its name promises any more
            values["name"] = f"{one.name} (changed)"
    return [parse(Scenario, values, where="These conditions") for values in changed]


def _sessions(store: Path | None) -> set[str]:
    """What a store holds before this command."""
    from srdeploy.measure.store import Store

    if store is None or not store.exists():
        return set()
    with Store.open(store) as kept:
        return kept.sessions()


def _run(artifacts: list[str], batches: list[Any], store: Path | None, journal: Path | None) -> Any:
    from contextlib import ExitStack

    from srdeploy.benchmarking.measuring.plan import Watcher, run
    from srdeploy.benchmarking.showing.live import live_table
    from srdeploy.measure.store import Store

    with ExitStack() as stack:
        kept = stack.enter_context(Store.open(store)) if store else None
        watcher = Watcher()
        if len(batches) > 1:
            watcher = stack.enter_context(live_table(len(batches) * len(artifacts)))
        return run(artifacts, batches, store=kept, journal=journal, watcher=watcher)
