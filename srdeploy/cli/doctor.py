"""The command that says what this machine can do."""

import typer

from srdeploy.cli import options as o
from srdeploy.cli.output import console, emit, mark


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(doctor)


def doctor(json: o.AsJson = False) -> None:
    """List every runtime and export target: available, or why not and what to install.

    **Example**

    `srdeploy doctor --json`
    """
    from srdeploy.export.targets import TARGETS
    from srdeploy.models.card_file import shipped_networks
    from srdeploy.runtime.table import RUNTIMES

    rows = []
    for kind, table in (("runtime", RUNTIMES), ("target", TARGETS)):
        for row in table.values():
            can = row.availability()
            rows.append({"kind": kind, "name": row.name, "title": row.title,
                         "available": can.ready, "reason": can.reason})  # fmt: skip
    if json:
        from srdeploy.measure.machine import machine_facts

        emit({"machine": machine_facts(), "rows": rows, "networks": sorted(shipped_networks())})
        return
    from rich.table import Column, Table

    name = Column("name", no_wrap=True)
    view = Table("kind", name, "", "what it is", "found, or what to do")
    for found in rows:
        cells = [str(found[key]) for key in ("kind", "name", "title", "reason")]
        view.add_row(*cells[:2], mark(found["available"]), *cells[2:])
    out = console()
    out.print(view)
    out.print(f"shipped networks: {', '.join(sorted(shipped_networks())) or 'none'}")
