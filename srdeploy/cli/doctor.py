"""The command that says what this machine can do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import emit, say
from srdeploy.errors import SrdeployError

if TYPE_CHECKING:
    from srdeploy.runtime.ncnn.gpus import Gpu


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(doctor)


def doctor(
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is here, with versions, and every reason.")
    ] = False,
    json: o.AsJson = False,
) -> None:
    """Say what is missing here to export, run and measure, and what to type to get it.

    **Examples**

    `srdeploy doctor`

    `srdeploy doctor --all`
    """
    from srdeploy.util.plugins import installed
    from srdeploy.util.shipped import shipped_networks

    rows = _rows()
    plugins = installed()
    gpus, no_gpus = _gpus()
    networks = sorted(shipped_networks())
    if json:
        from srdeploy.measure.machine import machine_facts

        facts = {"machine": machine_facts(), "rows": rows, "networks": networks}
        vulkan = [gpu.model_dump() for gpu in gpus]
        emit(facts | {"vulkan": vulkan, "plugins": [asdict(one) for one in plugins]})
        return
    if everything:
        _list(rows)
    else:
        _tell_missing(rows)
    for number, gpu in enumerate(gpus):
        say(f"Vulkan device {number}: {gpu}")
    if no_gpus:
        say(no_gpus)
    _tell_metrics()
    _tell_plugins(plugins)
    say(f"shipped networks: {', '.join(networks) or 'none'}")


def _gpus() -> tuple[list[Gpu], str]:
    """Vulkan's devices, and why there are none; neither where the runtime is not here."""
    from srdeploy.runtime.ncnn.gpus import NO_DEVICE, find_gpus
    from srdeploy.runtime.table import RUNTIMES

    row = RUNTIMES.get("ncnn-vulkan")
    if row is None or not row.availability():
        return [], ""
    try:
        found = find_gpus()
    except SrdeployError as error:
        return [], str(error)
    return found, "" if found else NO_DEVICE


def _rows() -> list[dict[str, Any]]:
    from srdeploy.devices.table import KINDS
    from srdeploy.exporting.targets import TARGETS
    from srdeploy.runtime.table import RUNTIMES, nvidia_driver

    rows = []
    for kind, table in (("target", TARGETS), ("runtime", RUNTIMES), ("device", KINDS)):
        for row in table.values():
            can = row.availability()
            remedies = list(can.remedies)
            if getattr(row, "nvidia", False) and not nvidia_driver():
                remedies = []  # what could be installed would find no GPU
            facts = {"kind": kind, "name": row.name, "title": row.title}
            rows.append(
                {**facts, "available": can.ready, "reason": can.reason, "remedies": remedies}
            )
    return rows


def _tell_missing(rows: list[dict[str, Any]]) -> None:
    """A line per command that would add something, with what it adds below it."""
    missing = [row for row in rows if not row["available"]]
    say(f"{len(rows) - len(missing)} of {len(rows)} targets, runtimes and kinds of devices "
        "work here; --all lists them.")  # fmt: skip
    gain: dict[str, list[str]] = {}
    for row in missing:
        for remedy in row["remedies"]:
            gain.setdefault(remedy, []).append(f"{row['kind']} {row['name']}")
    for remedy, names in gain.items():
        say(f"  {remedy}")
        say(f"      for {', '.join(names)}")
    elsewhere: dict[str, list[str]] = {}
    for row in missing:
        if not row["remedies"]:
            elsewhere.setdefault(row["kind"], []).append(row["name"])
    if elsewhere:
        told = "; ".join(f"{kind}s {', '.join(names)}" for kind, names in elsewhere.items())
        say(f"not for this machine: {told}")


def _tell_metrics() -> None:
    """A line per metric that is not measured here."""
    from srdeploy.quality.metrics import left_out

    for sentence in left_out():
        say(sentence)


def _tell_plugins(plugins: list[Any]) -> None:
    """A line per distribution, with the rows that it adds; then what is wrong with them."""
    added: dict[str, list[str]] = {}
    for one in plugins:
        names = [f"{one.table.removesuffix('s')} {name}" for name in one.rows]
        added.setdefault(f"{one.distribution} {one.version}", []).extend(names)
    for distribution, names in added.items():
        say(f"plug-in {distribution}: {', '.join(names) or 'nothing'}")
    for problem in (sentence for one in plugins for sentence in one.problems):
        say(problem)


def _list(rows: list[dict[str, Any]]) -> None:
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        state = f"yes  {row['reason']}" if row["available"] else "no"
        say(f"{row['kind']:7}  {row['name']:{width}}  {state}")
        say(f"    {row['title']}")
        if not row["available"]:
            say(f"    {row['reason']}")
