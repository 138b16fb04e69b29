"""Files on a device with a shell, by content: each travels once."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from pathlib import Path

from srdeploy.devices.errors import DeviceError, DeviceFull
from srdeploy.devices.native import FULL
from srdeploy.devices.shell.link import Link
from srdeploy.errors import UserError
from srdeploy.files import atomic_path, sha256

_QUOTA = "Disk quota exceeded"


class ShellFiles(ABC):
    """See :class:`srdeploy.devices.protocol.Files`; a kind adds how bytes travel.

    Args:
        link: Where to.
        folder: The folder of ours there, an absolute path.
    """

    def __init__(self, link: Link, folder: str) -> None:
        self._link = link
        self.folder = folder

    def push(self, source: Path) -> str:
        """Bring a file there under its content's hash, if it is not there yet."""
        if not source.is_file():
            raise UserError(f"There is no file '{source}'.")
        path = f"{self.folder}/files/{sha256(source)}{source.suffix}"
        if not self.exists(path):
            self.copy(source, path)
        return path

    @abstractmethod
    def copy(self, source: Path, path: str) -> None:
        """Bring a file there under a path, whole or not at all; see :meth:`write`."""

    @abstractmethod
    def write(self, path: str, content: bytes) -> None:
        """Write a file there, whole or not at all.

        Raises:
            DeviceFull: no space is left.
            DeviceError: the folder cannot be written to.
        """

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a file there.

        Raises:
            DeviceError: there is none.
        """

    def pull(self, path: str, target: Path) -> None:
        """Bring a file here, whole or not at all."""
        content = self.read(path)
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)

    def remove(self, path: str) -> None:
        """Delete a file there."""
        self._link.run(["rm", "-f", path])

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return self._link.run(["test", "-f", path]).returncode == 0

    def failure(self, said: str, what: str) -> DeviceError:
        """The error for a command that could not write; ``said`` is its complaint."""
        name = self._link.name
        if FULL in said or _QUOTA in said:
            return DeviceFull(
                f"No space is left on '{name}' in '{self.folder}': {what}; free some, or name "
                "another folder with ?dir=PATH."
            )
        last = (said.strip().splitlines() or ["it gave no reason"])[-1]
        return DeviceError(f"On '{name}': {what} ({last}).")

    def missing(self, path: str) -> DeviceError:
        """The error for a file that is not there."""
        return DeviceError(f"There is no file '{path}' on '{self._link.name}'.")


def keep_if_whole(path: str, size: int) -> str:
    """Shell text that gives ``path.part`` its name if it holds ``size`` bytes, else deletes it."""
    target, part = shlex.quote(path), shlex.quote(f"{path}.part")
    return (
        f'[ "$(wc -c < {part})" -eq {size} ] && mv {part} {target} || '
        f"{{ code=$?; rm -f {part}; exit $code; }}"
    )


def make_parent(path: str) -> str:
    """Shell text that makes the folder of ``path``."""
    return f"mkdir -p {shlex.quote(path.rpartition('/')[0])}"
