"""The bench's side of a worker: start it, ask it, notice when it dies or hangs."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import Any

from srdeploy.errors import SrdeployError

COMMAND = (sys.executable, "-m", "srdeploy.measure.worker")

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_GRACE_SECONDS = 5.0


class WorkerFailed(SrdeployError):
    """A worker answered with an error, died or hung; the sentence says which."""


class WorkerProcess:
    """One fresh process for one artifact. A context manager that ends it.

    Args:
        threads: CPU threads, set in the environment too, so that every library in every worker
            has the same number.
        timeout: Seconds to wait for any one answer.
        command: What to start.
    """

    def __init__(self, threads: int, timeout: float, command: tuple[str, ...] = COMMAND) -> None:
        self._timeout = timeout
        # A file, not a pipe: a chatty library must never block on us.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            encoding="utf-8",
            env={**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))},
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            WorkerFailed: the request failed, or the process is gone or silent for too long; in
                the latter cases it has been ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=self._timeout)
        except OSError:
            raise WorkerFailed(self._obituary(do)) from None
        except queue.Empty:
            self.close(grace=0)
            raise WorkerFailed(
                f"no answer to '{do}' within {self._timeout:g} s; it was ended."
            ) from None
        if not line:
            raise WorkerFailed(self._obituary(do))
        answer = json.loads(line)
        if not answer.pop("ok"):
            raise WorkerFailed(answer["error"])
        return answer

    def close(self, grace: float = _GRACE_SECONDS) -> None:
        """End the process, by its own accord if it does so within ``grace`` seconds."""
        end_process(self._process, grace)
        self._stderr.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                self._answers.put(line)
        self._answers.put("")

    def _obituary(self, do: str) -> str:
        code = end_process(self._process, _GRACE_SECONDS)
        how = f"exit code {code}"
        if code < 0:
            name = signal.Signals(-code).name
            how = f"{name}, perhaps out of memory" if name == "SIGKILL" else name
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        last_words = f": {lines[-1].strip()}" if lines else ""
        return f"its process died during '{do}' ({how}){last_words}."


def end_process(process: subprocess.Popen[Any], grace: float) -> int:
    """End a process that ends when its stdin does; kill it if that takes too long.

    Args:
        process: With a pipe to its stdin.
        grace: Seconds it may take.

    Returns:
        Its exit code.
    """
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it may be gone already
        process.stdin.close()
    try:
        return process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
