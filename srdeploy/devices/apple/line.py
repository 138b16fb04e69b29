"""The line to the agent on the Mac: one question, one answer, in JSON."""

from __future__ import annotations

import contextlib
import io
import json
import queue
import shlex
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from srdeploy.devices.answers import read_json, reading
from srdeploy.devices.errors import DeviceError, DeviceLost, DeviceRefused, DeviceUnfit
from srdeploy.devices.shell.link import ShellLink
from srdeploy.errors import SrdeployError
from srdeploy.measure.process import end_process

AGENT = Path(__file__).with_name("agent.py")
_GRACE_SECONDS = 10.0
_MOST_LINE = 64 << 20
_MOST_SENTENCE = 2000

_KINDS: dict[str, type[SrdeployError]] = {
    "refused": DeviceRefused,
    "unfit": DeviceUnfit,
    "lost": DeviceLost,
}


class AgentLine:
    """The agent, running on the Mac until :meth:`close`.

    Args:
        link: The Mac.
        program: The agent's file there.
        python: The Python there that runs it.
    """

    def __init__(self, link: ShellLink, program: str, python: str) -> None:
        self._link = link
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            link.remote(f"exec {shlex.quote(python)} -u {shlex.quote(program)}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def device(self) -> str:
        """What to call the Mac in a sentence."""
        return self._link.name

    def ask(self, do: str, timeout: float, **fields: Any) -> dict[str, Any]:
        """Ask one thing.

        Args:
            do: What; see the agent.
            timeout: Seconds to wait for the answer.
            fields: Its particulars.

        Raises:
            DeviceLost: the Mac or its device went away.
            DeviceError: the agent cannot do it, is late, or died.
            SrdeployError: what was asked for is at fault.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a dead agent is told by its missing answer
            self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise DeviceError(
                f"'{do}' did not end on '{self._link.name}' within {timeout:g} s."
            ) from None
        if not line:
            raise self._dead(do)
        answer = read_json(line, self.device, f"The answer to '{do}'")
        with reading(self.device):
            if "error" in answer:
                kind = _KINDS.get(answer["kind"], SrdeployError)
                raise kind(f"'{self.device}': {str(answer['error'])[:_MOST_SENTENCE]}")
            return dict(answer["ok"])

    def close(self) -> None:
        """End the agent, and with it its app."""
        end_process(self._process, _GRACE_SECONDS)
        self._said.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline(_MOST_LINE):
            self._answers.put(line)
            if not line.endswith("\n"):
                break  # more than any answer; what is cut off is no JSON, and the agent is ended
        self._answers.put("")

    def _dead(self, do: str) -> DeviceError:
        code = self._process.wait()
        if not self._link.alive:
            return self._link.lost(do)
        self._said.seek(max(0, self._said.seek(0, io.SEEK_END) - _MOST_SENTENCE))
        said = self._said.read().decode(errors="replace").strip().splitlines()
        reason = said[-1][:200] if said else f"exit code {code}"
        if code in (126, 127):
            return DeviceUnfit(
                f"There is no such Python on '{self._link.name}' ({reason}); name one that has "
                "coremltools by ?python=PATH."
            )
        return DeviceError(f"The agent on '{self._link.name}' died during '{do}' ({reason}).")
