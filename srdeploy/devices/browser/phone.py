"""One browser that opened the page: its pulse, the job it has, and what came back."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from srdeploy.devices.errors import DeviceError, DeviceLost, DeviceUnfit

SILENT_SECONDS = 10.0
"""Without a pulse for so long a page counts as gone; it beats every second."""

_LEFT_SECONDS = 2.0  # a page that said goodbye may only be reloading
_MOST_STARTS = 3  # over one step; a page that starts more often dies of the step
_MOST_REASON = 500
_UNFIT = ("unsupported", "insecure", "no-webgpu", "no-adapter")


@dataclass
class Phone:
    """What the server's thread and the measuring thread share; all under ``changed``.

    Attributes:
        key: The browser's own random name, which outlives a reload.
        name: What people call it.
        wanted: The name asked for in the page's address; empty where none was.
        told: What the page told of the browser, as it told it.
        page: The present page's random name; a reload is another page.
        claimed: A device has taken it.
        state: What came with the last pulse: ``hidden``, ``battery``, ``charging``.
        job: What the page is to do; it stays until it is answered, so a reload finds it again.
        expected_bytes: Size of the output that ``job`` may send.
    """

    key: str
    name: str
    wanted: str
    told: dict[str, Any]
    page: str
    wake: Callable[[], object]
    claimed: bool = False
    state: dict[str, Any] = field(default_factory=dict)
    job: dict[str, Any] | None = None
    expected_bytes: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    _reply: dict[str, Any] | None = None
    _output: bytes | None = None
    _seen: float = field(default_factory=time.monotonic)
    _left: float | None = None
    _starts: int = 0
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    # The server's side.

    def met(self, page: str, told: dict[str, Any]) -> None:
        """A page of this phone has started: the first, a reload, or another tab."""
        with self.changed:
            self._starts += page != self.page
            self.page, self.told = page, told
            self._seen, self._left = time.monotonic(), None
            self.changed.notify_all()

    def beat(self, state: Mapping[str, Any]) -> None:
        """The page lives; one that has said goodbye does not, whatever overtakes its farewell."""
        with self.changed:
            self._seen = time.monotonic()
            if state:
                self.state = dict(state)

    def leave(self) -> None:
        """The page said that it is being closed, or reloaded."""
        with self.changed:
            self._left = time.monotonic()
            self.changed.notify_all()

    def take_output(self, number: int, body: bytes) -> bool:
        """The output of the present job; False if it is not that job's."""
        with self.changed:
            if self.job is None or self.job["id"] != number or len(body) != self.expected_bytes:
                return False
            self._output = body
            return True

    def answer(self, number: int, reply: dict[str, Any]) -> None:
        """The page's answer; one to an older job is ignored."""
        with self.changed:
            if self.job is not None and self.job["id"] == number:
                self._reply, self.job = reply, None
                self._seen = time.monotonic()
                self.changed.notify_all()

    # The measuring side.

    def ask(
        self,
        do: str,
        *,
        timeout: float,
        patience: float,
        tell: Callable[[str], None],
        expected_bytes: int = 0,
        **fields: Any,
    ) -> tuple[dict[str, Any], bytes | None]:
        """Give the page a job and wait for its answer.

        A page that goes away in the middle is given the same job again when it returns.

        Args:
            do: The job's kind.
            timeout: Seconds that it may take, absences not counted.
            patience: Seconds to wait for a page that went away.
            tell: Is told at once, in one sentence, when the page goes away or returns.
            expected_bytes: Size of the output that the job sends.
            **fields: The job's particulars.

        Returns:
            The answer's fields, and the output if the job has one.

        Raises:
            DeviceLost: the page did not return in time.
            DeviceUnfit: the browser cannot do this.
            DeviceError: it failed, took too long, or kept dying of it.
        """
        with self.changed:
            self._reply, self._output, self._starts = None, None, 0
            self.expected_bytes = expected_bytes
            self.job = {"id": next(self._numbers), "do": do, **fields}
        self.wake()
        try:
            self._await(do, timeout, patience, tell)
        finally:
            with self.changed:
                self.job = None
        assert self._reply is not None
        reply = dict(self._reply)
        if reply.pop("ok", False):
            return reply, self._output
        reason = str(reply.get("error", "the page failed without a reason."))[:_MOST_REASON]
        sentence = f"{self.name}: {reason}"
        raise (DeviceUnfit if reply.get("code") in _UNFIT else DeviceError)(sentence)

    def _await(self, do: str, timeout: float, patience: float, tell: Callable[[str], None]) -> None:
        used, away, last = 0.0, 0.0, time.monotonic()
        with self.changed:
            while self._reply is None:
                self.changed.wait(0.25)
                step, last = time.monotonic() - last, time.monotonic()
                if gone := self._gone():
                    if not away:
                        tell(f"{gone}; open the address again and it goes on (nothing is lost).")
                    away += step
                    if away > patience:
                        raise DeviceLost(f"{gone} and did not return within {patience:g} s.")
                    continue
                if away:
                    tell(f"{self.name} is back and goes on.")
                    away = 0.0
                used += step
                if self._starts >= _MOST_STARTS:
                    raise DeviceError(
                        f"The page on {self.name} was started {self._starts} times over one step "
                        f"('{do}'), so the browser probably runs out of memory; use a smaller "
                        "input or a tile."
                    )
                if used > timeout:
                    raise DeviceError(
                        f"{self.name} did not finish '{do}' within {timeout:g} s; use a smaller "
                        "input, or a scenario with a longer timeout."
                    )

    def _gone(self) -> str | None:
        """The sentence on a page that is not there, without its end."""
        now = time.monotonic()
        if self._left is not None and now - self._left > _LEFT_SECONDS:
            return f"The page on {self.name} was closed"
        if now - self._seen > SILENT_SECONDS:
            why = (
                "locked, or showing something else"
                if self.state.get("hidden")
                else ("closed, asleep or off the network")
            )
            return f"The page on {self.name} has been silent for {SILENT_SECONDS:g} s ({why})"
        return None

    @property
    def alive(self) -> bool:
        """Whether its page is there."""
        with self.changed:
            return self._gone() is None
