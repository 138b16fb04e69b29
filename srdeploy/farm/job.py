"""One job on one device, in a process of its own: plain data in, plain data out.

A job holds ``artifacts`` (each ``name`` and ``parcel``), ``data`` (``builtin`` or a parcel),
``scenario``, ``scale``, ``runtime``, ``threads``, ``options``, ``repeat``; a device is described by
``name``, ``uri`` and, where it has one, its ``labgrid`` place. The answer's ``outcome`` is

* ``done``: with ``results``, each ``name``, ``measurement`` and ``fault`` (None, ``device``,
  ``job``);
* ``missing``: with the hashes of ``files`` that must be sent first;
* ``busy`` or ``failed``: the device could not be used, with the ``reason``.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from srdeploy.benchmarking.measuring.on_device import measure_on
from srdeploy.benchmarking.measuring.request import Request
from srdeploy.devices.checked import checked
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.open import open_device
from srdeploy.errors import SrdeployError
from srdeploy.farm.content_store import HostCache, StoredContent
from srdeploy.farm.labgrid_place import Busy, hold_place
from srdeploy.measure.scenario import Scenario
from srdeploy.util.files import cache_dir

Answer = dict[str, Any]

LOCK_SECONDS = 30.0
_HIGH = 500  # of file descriptors: when a process dies they are closed from the lowest to here


def execute(job: dict[str, Any], device: dict[str, Any]) -> Answer:
    """Do a job; see the module."""
    cache = HostCache()
    artifacts = [StoredContent.of(one["parcel"]) for one in job["artifacts"]]
    parcels = list(artifacts)
    data = job["data"]
    if isinstance(data, dict):
        parcels.append(StoredContent.of(data))
    missing = cache.lacking(digest for parcel in parcels for _, digest in parcel.files)
    if missing:
        return {"outcome": "missing", "files": missing}
    # Two artifacts of one name and content are one file here, and two contestants all the same.
    paths = [str(cache.folder(parcel)) for parcel in artifacts]
    request = Request(
        scenario=Scenario.model_validate(job["scenario"]),
        scale=job["scale"],
        data=str(cache.folder(StoredContent.of(data))) if isinstance(data, dict) else data,
        runtime=job["runtime"],
        threads=job["threads"],
        options=job["options"],
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(device["uri"]))
            if place := device.get("labgrid"):
                stack.enter_context(hold_place(place, device["coordinator"]))
            opened = checked(stack.enter_context(open_device(device["uri"])))
            opened.facts  # noqa: B018  (what it says of itself belongs to reaching it)
        except Busy as error:
            return {"outcome": "busy", "reason": str(error)}
        except SrdeployError as error:  # whatever it is, it is about the device
            return {"outcome": "failed", "reason": str(error)}
        outcomes = measure_on(opened, paths, request, name=device["name"], repeat=job["repeat"])
    results = []
    for one, outcome in zip(job["artifacts"], outcomes, strict=True):
        blame = "device" if isinstance(outcome.failure, DeviceError) else "job"
        results.append(
            {
                "name": one["name"],
                "measurement": outcome.measurement.model_dump(),
                "fault": blame if outcome.failure else None,
                "reason": str(outcome.failure or ""),
            }
        )
    return {"outcome": "done", "results": results}


@contextmanager
def exclusive(uri: str, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold a device against every other job of this host, whichever worker it came through.

    A worker that was killed takes its job with it, but not in the same instant; and the same
    device may have been given to two workers by mistake.

    Raises:
        Busy: it is still in use after ``seconds``.
    """
    import fcntl

    path = cache_dir() / "farm" / "locks" / hashlib.sha256(uri.encode()).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as stream:
        # Released last when this process is killed, after whatever it has open on the device.
        held = fcntl.fcntl(stream, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    try:
        end = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Busy(f"'{uri}' is in use by another job of its host.") from None
                time.sleep(0.02)
        yield
    finally:
        os.close(held)
