"""This machine in place of a board, reached through its own shell."""

from __future__ import annotations

from srdeploy.devices.errors import DeviceLost
from srdeploy.devices.shell.capture import Ended
from srdeploy.devices.shell.link import ShellLink


class LocalLink(ShellLink):
    """A link to this machine.

    Attributes:
        said: The shell text of every command, oldest first.
        there: Whether the board is still there.
        path: Folders of programs there; None for this machine's own.
    """

    name = "board"

    def __init__(self, path: str | None = None) -> None:
        self.said: list[str] = []
        self.there = True
        self.path = path

    @property
    def alive(self) -> bool:
        return self.there

    def remote(self, text: str) -> list[str]:
        self.said.append(text)
        path = [] if self.path is None else ["/usr/bin/env", f"PATH={self.path}"]
        return [*path, "/bin/sh", "-c", text]

    def lost(self, what: str) -> DeviceLost:
        return DeviceLost(f"The board went away during '{what}'.")

    def _answers(self) -> bool:
        return self.there

    def _told(self, ended: Ended, what: str) -> Ended:
        if not self.there:
            raise self.lost(what)
        return ended
