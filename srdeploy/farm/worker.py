"""A host's workers: one per device, all in one process, each a Dask worker of its own.

Jobs run in processes forked from the runner, so devices do not disturb one another here. A worker
that loses its scheduler ends its job and waits for the scheduler to come back.
"""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from srdeploy.devices.open import open_device
from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm.content_store import HostCache
from srdeploy.farm.labgrid_place import require_labgrid
from srdeploy.farm.network import (
    WORKER_CALLS,
    NoPages,
    dask_address,
    own_address,
    probe,
    refused,
    security,
)
from srdeploy.farm.runner_process import RunnerProcess
from srdeploy.farm.served_device import ServedDevice
from srdeploy.farm.settings import DeviceEntry, FarmFile

Said = Callable[[str], None]

DEVICE = "device"
_PAUSE_SECONDS = 1.0
_HEARTBEAT_SECONDS = 5.0


def tag_resource(tag: str) -> str:
    """The resource by which Dask finds devices of a kind."""
    return f"tag {tag}"


def all_tags(entry: DeviceEntry) -> set[str]:
    """What jobs may ask for to get this device."""
    return {entry.called, entry.kind, *entry.tags}


async def serve(
    farm: FarmFile,
    entries: Sequence[DeviceEntry],
    listen: str | None = None,
    said: Said = lambda sentence: None,
) -> None:
    """Offer devices to the farm until told to end (SIGTERM, SIGINT); running jobs are ended then.

    Args:
        farm: The farm's file on this host.
        entries: The devices.
        listen: Address to listen on; default: the one from which the scheduler is reached.
        said: Hears what happens, in sentences.

    Raises:
        UserError: no device, a URI that cannot be opened from here, a name that the farm has
            already, or a certificate that is not accepted.
    """
    if not entries:
        raise UserError("Name a device: --device URI, or `devices:` in the farm's file.")
    for entry in entries:
        open_device(entry.uri)  # connects to nothing
        if entry.labgrid is not None:
            require_labgrid()
            if farm.labgrid is None:
                raise UserError(
                    f"'{entry.called}' has a labgrid place: say `labgrid: HOST:PORT` in the farm's "
                    "file."
                )
    HostCache().tidy()
    runner = RunnerProcess()
    try:
        await asyncio.to_thread(runner.start)
        stations = [ServedDevice(entry, farm, runner) for entry in entries]
        with tempfile.TemporaryDirectory(prefix="srdeploy-farm-") as scratch:
            await _until_told(_offer(farm, stations, listen, scratch, said))
    finally:
        runner.close()


async def _until_told(work: Any) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


async def _offer(
    farm: FarmFile, stations: Sequence[ServedDevice], listen: str | None, scratch: str, said: Said
) -> None:
    offers = [_keep(farm, station, listen, scratch, said) for station in stations]
    group = asyncio.gather(*offers)
    try:
        await group
    except BaseException:
        group.cancel()
        raise


async def _keep(
    farm: FarmFile, station: ServedDevice, listen: str | None, scratch: str, said: Said
) -> None:
    """Have a worker for a device at the scheduler, again and again."""
    waiting = False
    while True:
        worker = None
        try:
            await asyncio.to_thread(probe, farm)
            worker = await _worker_class()(farm, station, listen or own_address(farm), scratch)
            waiting = False
            said(f"{station.entry.called}: {station.state.state} at {farm.scheduler}")
            await worker.finished()
        except UserError:
            raise
        except (SrdeployError, OSError, RuntimeError, ValueError) as error:
            if "name taken" in str(error) or "name taken" in str(error.__cause__):
                raise UserError(
                    f"The farm has a device '{station.entry.called}' already; give this one "
                    "another name."
                ) from None
            if not waiting:
                said(f"{station.entry.called}: waiting for the scheduler ({error})")
            waiting = True
        finally:
            if worker is not None:
                await worker.close()
        await asyncio.sleep(_PAUSE_SECONDS)


def _worker_class() -> Any:
    from distributed import Worker

    class DeviceWorker(NoPages, Worker):
        """A Dask worker with one thread and one device, and without web pages."""

        def __init__(
            self, farm: FarmFile, station: ServedDevice, address: str, scratch: str
        ) -> None:
            self.station = station
            tags = {tag_resource(tag): 1 for tag in all_tags(station.entry)}
            super().__init__(
                dask_address(farm),
                name=station.entry.called,
                nthreads=1,
                memory_limit=0,
                resources={DEVICE: 1, **tags},
                security=security(farm),
                protocol="tls",
                host=address,
                dashboard=False,
                local_directory=scratch,
                heartbeat_interval=f"{_HEARTBEAT_SECONDS}s",
                startup_information={"srdeploy": lambda worker: station.card()},
                metrics={"srdeploy": lambda worker: station.status()},
            )
            self.blocked_handlers = refused(self.handlers, WORKER_CALLS)

        async def start_unsafe(self) -> Any:
            """Register; a device set aside before a restart is set aside still."""
            started = await super().start_unsafe()
            if not self.station.ready:
                await self.publish()
            return started

        async def publish(self) -> None:
            """Tell the scheduler at once whether the device takes jobs.

            Our own count stays: a job that is here already starts, is refused, and goes elsewhere.
            """
            resources = {**self.state.total_resources, DEVICE: int(self.station.ready)}
            await self.scheduler.set_resources(worker=self.contact_address, resources=resources)
            await self.heartbeat()

        async def close(self, *arguments: Any, **options: Any) -> Any:
            """End the running job first: nobody would hear its answer."""
            self.station.stop()
            return await super().close(*arguments, **options)

    return DeviceWorker
