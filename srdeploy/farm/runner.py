"""The process that jobs are forked from: ``python -m srdeploy.farm.runner``, one per worker.

What jobs need is imported once and shared, so a job costs a fork, not a start of Python. It reads
JSON lines from stdin, ``{"id", "job", "device", "seconds"}`` to run a job or ``{"kill": id}`` to
end one, and answers each job with one line on stdout, ``{"id", "answer"}``. A job that takes longer
than ``seconds`` is ended, its own children too. Nothing outlives the worker: the end of stdin ends
all jobs, and should this process be killed, its jobs notice and end themselves.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

from srdeploy.util.figures_json import dumps

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_STDIN = 0


@dataclass
class _Running:
    """A job: its process group, the pipe its answer comes from, and when it must be over."""

    id: str
    pid: int
    pipe: int
    began: float
    seconds: float
    answer: bytearray = field(default_factory=bytearray)
    hung: bool = False


class Runner:
    """Forks jobs, collects their answers and keeps their time."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._jobs: dict[int, _Running] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(_STDIN, selectors.EVENT_READ)
        self._lifeline, self._held = os.pipe()
        self._rest = b""

    def serve(self) -> None:
        """Work until stdin ends."""
        while True:
            for key, _ in self._selector.select(self._until_next_deadline()):
                if key.fd == _STDIN:
                    data = os.read(_STDIN, 1 << 20)
                    if not data:
                        return
                    *lines, self._rest = (self._rest + data).split(b"\n")
                    for line in lines:
                        self._obey(json.loads(line))
                else:
                    self._hear(key.fd)
            for job in list(self._jobs.values()):
                if not job.hung and time.monotonic() > job.began + job.seconds:
                    job.hung = True
                    _kill(job.pid)

    def close(self) -> None:
        """End all jobs."""
        for job in self._jobs.values():
            _kill(job.pid)

    def _obey(self, order: dict[str, Any]) -> None:
        if "kill" in order:
            for job in self._jobs.values():
                if job.id == order["kill"]:
                    _kill(job.pid)
            return
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._child(order, writing)
        os.close(writing)
        with contextlib.suppress(OSError):  # both sides do it, so that neither comes too late
            os.setpgid(pid, pid)
        self._jobs[reading] = _Running(
            order["id"], pid, reading, time.monotonic(), order["seconds"]
        )
        self._selector.register(reading, selectors.EVENT_READ)

    def _child(self, order: dict[str, Any], writing: int) -> None:
        """The forked process; never returns."""
        code = 1
        try:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.close(self._held)
            for pipe in self._jobs:
                os.close(pipe)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)  # stdout is the protocol's
            os.environ.clear()
            os.environ.update(self._environment)
            threading.Thread(target=_die_with, args=(self._lifeline,), daemon=True).start()
            answer = dumps(_answer(order)).encode()
            while answer:
                answer = answer[os.write(writing, answer) :]
            code = 0
        finally:
            os._exit(code)

    def _hear(self, pipe: int) -> None:
        job = self._jobs[pipe]
        data = os.read(pipe, 1 << 20)
        if data:
            job.answer += data
            return
        _kill(job.pid)  # what it may have left behind; its number is its own until it is waited for
        _, status = os.waitpid(job.pid, 0)
        self._selector.unregister(pipe)
        os.close(pipe)
        del self._jobs[pipe]
        print(dumps({"id": job.id, "answer": _heard(job, status)}), flush=True)

    def _until_next_deadline(self) -> float | None:
        ends = [job.began + job.seconds for job in self._jobs.values() if not job.hung]
        return max(0.0, min(ends) - time.monotonic()) if ends else None


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    from srdeploy.farm.job import execute

    try:
        return execute(order["job"], order["device"])
    except Exception as error:
        from srdeploy.errors import SrdeployError

        if isinstance(error, SrdeployError):
            return {"outcome": "wrong", "reason": str(error)}
        traceback.print_exc()
        words = f"internal error ({type(error).__name__}: {' '.join(str(error).split())})"
        return {"outcome": "wrong", "reason": words}


def _heard(job: _Running, status: int) -> dict[str, Any]:
    if job.hung:
        return {"outcome": "hung", "reason": f"no end within {job.seconds:g} s; it was stopped."}
    with contextlib.suppress(ValueError):
        return json.loads(job.answer.decode())
    return {"outcome": "died", "reason": f"the job's process died (status {status})."}


def _die_with(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when the runner is gone: nobody ever writes
    os.killpg(0, signal.SIGKILL)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _import_ahead() -> None:
    """What most jobs need, so that none has to import it again.

    PyTorch is not among it: it would make each fork three times as expensive, for the few jobs that
    export a network first. Nor is anything that starts threads, which no fork would have.
    """
    import numpy.ma  # noqa: F401  (a median's)
    import onnx  # noqa: F401

    from srdeploy.benchmarking.measuring.inputs import choose_image
    from srdeploy.devices.table import KINDS
    from srdeploy.errors import SrdeployError
    from srdeploy.farm import job  # noqa: F401
    from srdeploy.util.plugins import code_of

    choose_image("builtin", 2)  # what reads pictures
    for kind in KINDS.values():
        with contextlib.suppress(ImportError, SrdeployError):  # an extra, or a plug-in's module
            code_of(kind.opens)
    gc.collect()
    gc.freeze()  # a collection in a fork would touch, and so copy, everything


def main() -> None:
    """Serve until stdin ends. One thread while importing: a fork copies no other."""
    environment = dict(os.environ)
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker decides
    _import_ahead()
    print(json.dumps({"ready": True}), flush=True)
    runner = Runner(environment)
    try:
        runner.serve()
    finally:
        runner.close()
        sys.stdout.close()


if __name__ == "__main__":
    main()
