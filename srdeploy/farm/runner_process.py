"""The worker's side of the runner: start it, hand it jobs, notice when it dies."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import uuid
from typing import Any

from srdeploy.errors import SrdeployError
from srdeploy.measure.process import end_process

COMMAND = (sys.executable, "-m", "srdeploy.farm.runner")
_GRACE_SECONDS = 5.0
_GONE: dict[str, Any] = {"outcome": "died", "reason": "the process that jobs start from was ended."}


class RunnerProcess:
    """One runner, started again should it die. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._waiting: dict[str, queue.SimpleQueue[dict[str, Any]]] = {}
        self._closed = False

    def start(self) -> None:
        """Start it and wait until it has imported what jobs need.

        Raises:
            SrdeployError: it ended at once.
        """
        with self._lock:
            self._ensure()

    def run(self, job: dict[str, Any], device: dict[str, Any], seconds: float, id: str) -> Any:
        """Do a job and wait for its answer, see :mod:`srdeploy.farm.runner`."""
        mine: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            if self._closed:
                return _GONE
            self._ensure()
            self._waiting[id] = mine
            self._send({"id": id, "job": job, "device": device, "seconds": seconds})
        return mine.get()

    def kill(self, id: str) -> None:
        """End a job, if it is still running."""
        with self._lock:
            if self._process is not None:
                self._send({"kill": id})

    def close(self) -> None:
        """End it and all its jobs."""
        with self._lock:
            self._closed = True
            process, self._process = self._process, None
        if process is not None:
            end_process(process, _GRACE_SECONDS)

    def _ensure(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._process = process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert process.stdout is not None
        if not process.stdout.readline():
            raise SrdeployError(f"Jobs cannot be started here (exit code {process.wait()}).")
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()

    def _send(self, order: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # the listening thread tells those who wait
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            with self._lock:
                waiting = self._waiting.pop(told["id"], None)
            if waiting is not None:
                waiting.put(told["answer"])
        process.wait()
        with self._lock:
            left, self._waiting = self._waiting, {}
        for waiting in left.values():
            waiting.put(_GONE)


def job_id() -> str:
    """A name for one run of a job."""
    return uuid.uuid4().hex
