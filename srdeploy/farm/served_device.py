"""A device at its worker: it takes jobs one at a time, counts its failures, and obeys orders."""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from srdeploy import __version__
from srdeploy.farm.runner_process import RunnerProcess, job_id
from srdeploy.farm.settings import DeviceEntry, FarmFile
from srdeploy.farm.state import DeviceState, StateFile
from srdeploy.util.files import cache_dir

Answer = dict[str, Any]


class ServedDevice:
    """One device of this host.

    Attributes:
        entry: What the farm's file says of it.
        state: Whether it takes jobs; on disk as well.
    """

    def __init__(self, entry: DeviceEntry, farm: FarmFile, runner: RunnerProcess) -> None:
        self.entry = entry
        self._farm = farm
        self._runner = runner
        self._file = StateFile(entry.called)
        self.state: DeviceState = self._file.read()
        self._lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._running: str | None = None
        self._began = 0.0
        self._what = ""

    @property
    def ready(self) -> bool:
        """Whether it takes jobs."""
        return self.state.state == "ready"

    @property
    def busy(self) -> bool:
        """Whether a job is running."""
        return self._running is not None

    def card(self) -> dict[str, Any]:
        """What never changes while the worker runs."""
        return {
            "name": self.entry.called,
            "uri": self.entry.uri,
            "kind": self.entry.kind,
            "tags": list(self.entry.tags),
            "host": f"{socket.gethostname()}:{cache_dir()}",
            "pid": os.getpid(),
            "python": platform.python_version(),
            "srdeploy": __version__,
        }

    def status(self) -> dict[str, Any]:
        """What changes."""
        status = {
            "state": self.state.state,
            "reason": self.state.reason,
            "in_a_row": self.state.in_a_row,
            "done": self.state.done,
        }
        if self._running is not None:
            status |= {"running": self._what, "seconds": round(time.monotonic() - self._began, 1)}
        return status

    def run(self, job: dict[str, Any]) -> Answer:
        """Do a job, unless the device has been set aside meanwhile.

        Returns:
            :mod:`srdeploy.farm.job`'s answer, with the ``seconds`` it took and the device's
            ``name`` and ``status``. Further outcomes: ``refused`` (set aside), ``hung`` (longer
            than the job's ``seconds``), ``died`` (its process was ended), ``wrong`` (the job's own
            fault).
        """
        with self._lock:  # one at a time, whoever calls
            if not self.ready:
                answer: Answer = {"outcome": "refused", "reason": self.state.reason}
                return answer | self._signature()
            self._running, self._began = job_id(), time.monotonic()
            self._what = ", ".join(one["name"] for one in job["artifacts"])
            try:
                answer = self._runner.run(job, self._device(), job["seconds"], self._running)
            finally:
                self._running = None
            self._judge(job, answer)
            seconds = {"seconds": time.monotonic() - self._began}
            return answer | seconds | self._signature()

    def stop(self) -> None:
        """End the running job, if there is one."""
        if (running := self._running) is not None:
            self._runner.kill(running)

    def order(self, state: Any, reason: str) -> None:
        """Set the device aside, or have it back."""
        self._change(lambda now: now.ordered(state, reason))

    def _judge(self, job: dict[str, Any], answer: Answer) -> None:
        """Whose fault was it? A job that hung elsewhere too is not held against the device."""
        outcome = answer["outcome"]
        faults = [one["reason"] for one in answer.get("results", ()) if one["fault"] == "device"]
        if outcome == "failed" or (outcome == "hung" and job["blame"]):
            faults = [answer["reason"]]
        if faults:
            limit = self._farm.quarantine_after
            self._change(lambda now: now.failed(faults[0], limit))
        elif outcome in ("done", "wrong"):
            self._change(DeviceState.succeeded)

    def _change(self, change: Callable[[DeviceState], DeviceState]) -> None:
        """Keep what follows from the state; an order may come while a job is being judged."""
        with self._state_lock:
            self.state = change(self.state)
            self._file.write(self.state)

    def _signature(self) -> Answer:
        return {"name": self.entry.called, "status": self.status()}

    def _device(self) -> dict[str, Any]:
        return {
            "name": self.entry.called,
            "uri": self.entry.uri,
            "labgrid": self.entry.labgrid,
            "coordinator": self._farm.labgrid,
        }
