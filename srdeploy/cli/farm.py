"""``srdeploy farm``: certificates, scheduler, workers, and the devices they offer."""

from pathlib import Path
from typing import Annotated, Any

import typer

from srdeploy.cli import options as o
from srdeploy.cli.help import CommandGroup
from srdeploy.cli.output import emit, note, say, show

group = typer.Typer(
    cls=CommandGroup,
    help="Many devices on many hosts; `srdeploy bench --farm FILE --devices TAGS` measures there.",
)

FarmPath = Annotated[
    Path,
    typer.Option(
        "--farm", metavar="FILE", help="This host's farm.yaml, or the folder that holds it."
    ),
]
Words = Annotated[
    list[str], typer.Argument(metavar="DEVICE...", help="Names, tags, kinds, or patterns.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (certs, scheduler, worker, devices, drain, quarantine):
        group.command()(command)
    app.add_typer(group, name="farm")


def certs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the authority lives.")],
    hosts: Annotated[
        str,
        typer.Option(
            metavar="HOST[,HOST]", help="All hosts: the scheduler's, the workers', your laptop."
        ),
    ],
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="HOST[:PORT]", help="Where the scheduler will be; needed once."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="Life of new certificates.")] = 365,
    renew: Annotated[
        bool, typer.Option("--renew", help="Replace certificates that are there.")
    ] = False,
    json: o.AsJson = False,
) -> None:
    """Make the farm's certificates: an authority of its own, and a folder per host.

    Copy each folder to its host; the authority's key stays where it was made. Without a
    certificate nobody gets in, and whoever holds one can have the farm's hosts run code.

    **Examples**

    `srdeploy farm certs lab --scheduler 192.168.1.5 --hosts 192.168.1.5,bench1,laptop`

    `srdeploy farm certs lab --hosts bench2`

    `srdeploy farm certs lab --hosts bench1 --renew`
    """
    _require("cryptography")
    from srdeploy.farm.certificates import issue

    issued = issue(folder, o.listed(hosts), scheduler, days=days, renew=renew)
    if json:
        rows = [{**vars(one), "folder": str(one.folder), "until": str(one.until)} for one in issued]
        emit(rows)
        return
    for one in issued:
        made = "made" if one.new else "kept"
        say(f"{one.folder}: {made}, valid until {one.until:%Y-%m-%d}; copy it to {one.host}")


def scheduler(
    farm: FarmPath = Path("farm.yaml"),
    listen: Annotated[
        str | None,
        typer.Option(metavar="HOST[:PORT]", help="Listen here; default: as the file says."),
    ] = None,
) -> None:
    """Run the farm's scheduler, until Ctrl-C.

    It listens on one address and opens no other port.

    **Example**

    `srdeploy farm scheduler --farm lab/192.168.1.5`
    """
    import asyncio

    from srdeploy.farm.scheduler import serve

    settings = open_farm_file(farm)
    asyncio.run(serve(settings, listen, lambda where: note(f"The farm's scheduler is at {where}")))


def worker(
    farm: FarmPath = Path("farm.yaml"),
    device: Annotated[
        str | None,
        typer.Option(metavar="URI", help="The device; default: all `devices:` of the file."),
    ] = None,
    tags: Annotated[
        str, typer.Option(metavar="TAG[,TAG]", help="What jobs ask for, e.g. jetson-orin.")
    ] = "",
    name: Annotated[str | None, typer.Option(help="What results call it.")] = None,
    labgrid: Annotated[
        str | None, typer.Option(metavar="PLACE", help="labgrid place to hold while a job runs.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Default: the one from which the scheduler is reached."
        ),
    ] = None,
) -> None:
    """Offer a host's devices to the farm, until Ctrl-C; waits for a scheduler that is not there.

    **Examples**

    `srdeploy farm worker --device ssh://me@orin --tags jetson-orin`

    `srdeploy farm worker --device 'adb://1A2B3C' --tags pixel-8 --name pixel-8-desk`

    `srdeploy farm worker --farm lab/bench1`
    """
    import asyncio

    from srdeploy.errors import UserError
    from srdeploy.farm.settings import device_entry
    from srdeploy.farm.worker import serve

    settings = open_farm_file(farm)
    entries: Any = settings.devices
    if device is not None:
        entries = [device_entry(uri=device, name=name, tags=o.listed(tags), labgrid=labgrid)]
    elif tags or name or labgrid:
        raise UserError("--tags, --name and --labgrid describe the device of --device URI.")
    asyncio.run(serve(settings, entries, listen, note))


def devices(
    patterns: Annotated[
        list[str] | None, typer.Argument(metavar="[DEVICE...]", help="Only these.")
    ] = None,
    farm: FarmPath = Path("farm.yaml"),
    json: o.AsJson = False,
) -> None:
    """List the farm's live devices: tags, state, what they are doing.

    **Examples**

    `srdeploy farm devices`

    `srdeploy farm devices 'pixel-*' --json`
    """
    from srdeploy.farm.fleet import devices_of
    from srdeploy.farm.link import devices as live

    found = live(open_farm_file(farm), patterns or ())
    _list(devices_of(patterns, found) if patterns else found, json)


def drain(
    devices: Words,
    farm: FarmPath = Path("farm.yaml"),
    back: Annotated[bool, typer.Option("--back", help="Have them back.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until their jobs are over.")] = False,
    json: o.AsJson = False,
) -> None:
    """Let devices finish their job and take no more, e.g. before they are unplugged.

    **Examples**

    `srdeploy farm drain orin-3 --wait`

    `srdeploy farm drain orin-3 --back`
    """
    _order(farm, devices, "ready" if back else "drained", "by order", wait, json)


def quarantine(
    devices: Words,
    farm: FarmPath = Path("farm.yaml"),
    reason: Annotated[str, typer.Option(help="Shown wherever the device is missed.")] = "by order",
    release: Annotated[
        bool, typer.Option("--release", help="Have them back, failures forgiven.")
    ] = False,
    json: o.AsJson = False,
) -> None:
    """Set devices aside, or release those that the farm set aside after failures in a row.

    **Examples**

    `srdeploy farm quarantine pixel-6-a --reason 'battery swells'`

    `srdeploy farm quarantine pixel-6-a --release`
    """
    _order(farm, devices, "ready" if release else "quarantined", reason, False, json)


def tags_asked(farm: Path, devices: str | None, device: str) -> list[str]:
    """What ``--devices`` means on this farm now."""
    from srdeploy.farm.fleet import tags_of
    from srdeploy.farm.link import devices as live

    words = words_asked(devices, device)
    return tags_of(words, live(open_farm_file(farm), words))


def words_asked(devices: str | None, device: str) -> list[str]:
    """The words of ``--devices``.

    Raises:
        UserError: none, or a device of this host beside them.
    """
    from srdeploy.errors import UserError

    if device != "local":
        raise UserError("--device names a device here; on a farm, say --devices TAG[,TAG].")
    words = o.listed(devices or "")
    if not words:
        raise UserError("Say which devices of the farm: --devices TAG[,TAG].")
    return words


def measure_on_farm(
    farm: Path,
    artifacts: list[str],
    batches: Any,
    store: Path,
    journal: Path | None,
    job_limit: float,
    apart: bool,
) -> Any:
    """Run ``bench``'s batches on a farm."""
    from srdeploy.benchmarking.showing.live import live_table
    from srdeploy.farm.client import FarmOptions, run
    from srdeploy.measure.store import Store

    settings = open_farm_file(farm)
    with Store.open(store) as kept, live_table(len(batches) * len(artifacts)) as watcher:
        asked = FarmOptions(job_limit, apart)
        return run(
            settings, artifacts, batches, kept, watcher=watcher, journal=journal, asked=asked
        )


def _order(farm: Path, devices: list[str], state: str, reason: str, wait: bool, json: bool) -> None:
    from srdeploy.farm.link import order

    reason = "" if state == "ready" else reason
    _list(order(open_farm_file(farm), devices, state, reason, wait), json)


def open_farm_file(path: Path) -> Any:
    """The settings of a farm's file.

    Raises:
        UserError: it cannot be read, or what farms need is not installed.
    """
    _require("distributed", "cryptography")
    from srdeploy.farm.network import open_farm

    farm, remark = open_farm(path)
    if remark:
        note(remark)
    return farm


def _require(*modules: str) -> None:
    from importlib.util import find_spec

    from srdeploy.errors import UserError

    for name in modules:
        if find_spec(name) is None:
            raise UserError(f"Farms need {name}: pip install 'srdeploy[farm]'.")


def _list(found: Any, json: bool) -> None:
    if json:
        emit([vars(device) for device in found])
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("device", "kind", "tags", "state", "doing", "done"):
        table.add_column(title, overflow="fold", justify="right" if title == "done" else "left")
    for one in found:
        state = one.state + (f": {one.reason}" if one.reason else "")
        doing = f"{one.running} ({one.seconds:.0f} s)" if one.running else "-"
        table.add_row(one.name, one.kind, ", ".join(one.tags), state, doing, str(one.done))
    show(table)
    if not found:
        say("No device is connected; start `srdeploy farm worker` on their hosts.")
