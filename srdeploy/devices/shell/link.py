"""A way to a shell on a device: one command at a time, bytes in, bytes out."""

from __future__ import annotations

import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress

from srdeploy.devices.errors import DeviceError, DeviceLost
from srdeploy.devices.protocol import Completed
from srdeploy.devices.shell.capture import MOST_TEXT, Ended, TooMuch, capture

_TIMED_OUT = 124
"""``timeout``'s exit code."""


class ShellLink(ABC):
    """Runs shell text on a device.

    Attributes:
        name: What to call the device in a sentence.
    """

    name: str

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether the device is still thought to be there."""

    @abstractmethod
    def remote(self, text: str) -> list[str]:
        """The local command that runs shell text there."""

    @abstractmethod
    def lost(self, what: str) -> DeviceLost:
        """The error for a device that went away during ``what``."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether a fresh command still gets through."""

    @abstractmethod
    def _told(self, ended: Ended, what: str) -> Ended:
        """What the script said and ended with, of what the local command did.

        Raises:
            DeviceLost: the device went away before the script ended.
        """

    def script(
        self,
        text: str,
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        what: str = "a script",
        most: int = MOST_TEXT,
    ) -> Ended:
        """Run POSIX shell text there; see :meth:`run`. ``what`` names it in a sentence."""
        limit = None if timeout is None else timeout + 10
        try:
            ended = capture(self.remote(text), stdin=stdin, timeout=limit, most=most)
        except subprocess.TimeoutExpired:
            raise self._late(what, timeout) from None
        except TooMuch:
            raise DeviceError(
                f"'{what}' printed more on '{self.name}' than the {most / 1e6:.1f} MB that it may."
            ) from None
        told = self._told(ended, what)
        if told.returncode == _TIMED_OUT and timeout is not None:
            raise self._late(what, timeout)
        return told

    def run(
        self,
        command: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        most: int = MOST_TEXT,
    ) -> Ended:
        """Run a program there.

        Args:
            command: Program and arguments; no shell there reads them.
            stdin: What it reads.
            timeout: Seconds; the program is ended over there after them.
            most: Bytes that it may print.

        Raises:
            DeviceLost: the device went away before the program ended.
            DeviceError: it did not end in time, or printed more.
        """
        words = shlex.join(command)
        if timeout is not None:
            # Ended there too, so that nothing keeps the device busy; most systems have it.
            limit = f"timeout {max(1, round(timeout))}"
            words = f"if command -v timeout >/dev/null; then {limit} {words}; else {words}; fi"
        return self.script(words, stdin=stdin, timeout=timeout, what=command[0], most=most)

    def discard(self, folder: str) -> None:
        """Delete a folder there, if the device is still there."""
        if self.alive:
            with suppress(DeviceLost):  # it may go away just now
                self.run(["rm", "-rf", folder])

    def _late(self, what: str, timeout: float | None) -> DeviceError:
        if not self._answers():
            return self.lost(what)
        return DeviceError(f"'{what}' did not end on '{self.name}' within {timeout:g} s.")


class ShellCommands:
    """See :class:`srdeploy.devices.protocol.Commands`."""

    def __init__(self, link: ShellLink) -> None:
        self._link = link

    def run(
        self, command: Sequence[str], *, stdin: bytes = b"", timeout: float | None = None
    ) -> Completed:
        """Run a program there."""
        return as_text(self._link.run(command, stdin=stdin, timeout=timeout))


def as_text(ended: Ended) -> Completed:
    """What a command printed, as text."""
    return Completed(
        ended.returncode,
        ended.stdout.decode(errors="replace"),
        ended.stderr.decode(errors="replace"),
    )
