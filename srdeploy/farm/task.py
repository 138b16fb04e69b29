"""What the farm's client has workers do: importable functions of plain data.

They are sent by name, so that client and workers may run different versions of Python.
"""

from __future__ import annotations

from typing import Any

from srdeploy.farm.content_store import HostCache


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job on the device of the worker that this runs on."""
    from distributed import get_worker

    worker: Any = get_worker()
    before = worker.station.ready
    answer = worker.station.run(job)
    if worker.station.ready != before:
        worker.loop.add_callback(worker.publish)
    return answer


def lacking(digests: list[str]) -> list[str]:
    """Which contents this host does not have."""
    return HostCache().lacking(digests)


def receive(digest: str, offset: int, chunk: bytes, last: bool, sender: str) -> None:
    """Take a piece of a file."""
    HostCache().receive(digest, offset, chunk, last, sender)


async def order(state: str, reason: str, dask_worker: Any = None) -> dict[str, Any]:
    """Set a worker's device aside, or have it back; returns its status."""
    dask_worker.station.order(state, reason)
    await dask_worker.publish()
    return dask_worker.station.status()
