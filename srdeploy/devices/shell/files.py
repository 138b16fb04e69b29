"""Files on a device with a shell, by content: each travels once.

Whatever is written there goes under a name of its own first and is renamed when it is whole, so
that any number of programs may write the same file at once.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import uuid
from abc import ABC, abstractmethod
from pathlib import Path

from srdeploy.devices.errors import DeviceError, DeviceFull
from srdeploy.devices.native import FULL
from srdeploy.devices.shell.link import ShellLink
from srdeploy.errors import UserError
from srdeploy.util.files import atomic_path, sha256

MOST_FILE = 4 << 30
"""Bytes of a file that is brought here, where nothing tells how large it is to be."""

_QUOTA = "Disk quota exceeded"

_DIGEST = """
[ -f {path} ] || exit 1
for tool in sha256sum 'toybox sha256sum' 'busybox sha256sum' 'shasum -a 256' 'openssl sha256 -r'; do
  command -v ${{tool%% *}} >/dev/null && said=$($tool < {path} 2>/dev/null) && break
done
echo "sha256=${{said%% *}}"
"""
"""Shell text: the SHA-256 of a file by whatever tool is there, nothing after ``=`` by none."""


class ShellFiles(ABC):
    """See :class:`srdeploy.devices.protocol.Files`; a kind adds how bytes travel.

    Args:
        link: Where to.
        folder: The folder of ours there, an absolute path.
    """

    def __init__(self, link: ShellLink, folder: str) -> None:
        if folder.startswith("-"):
            raise UserError(f"'{folder}' is no folder for ?dir=; give one that begins with /.")
        self._link = link
        self.folder = folder

    def push(self, source: Path) -> str:
        """Bring a file there under its content's hash, if it is not there yet.

        One that is there is believed for its content, not for its name.

        Raises:
            DeviceError: it does not arrive as it was sent.
        """
        if not source.is_file():
            raise UserError(f"There is no file '{source}'.")
        digest = sha256(source)
        path = f"{self.folder}/files/{digest}{_plain(source.suffix)}"
        if self.digest(path) != digest:
            self.copy(source, path)
            if self.digest(path) != digest:
                self.remove(path)
                raise DeviceError(
                    f"'{source}' did not arrive whole on '{self._link.name}'; is its disk sound?"
                )
        return path

    def digest(self, path: str) -> str | None:
        """SHA-256 in hex of a file there, computed there if it can; None where there is none."""
        ended = self._link.script(_DIGEST.format(path=shlex.quote(path)), what=f"checking {path}")
        if ended.returncode:
            return None
        told = re.fullmatch(rb"sha256=([0-9a-f]{64})", ended.stdout.strip())
        return told[1].decode() if told else hashlib.sha256(self.read(path)).hexdigest()

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
    def read(self, path: str, most: int = MOST_FILE) -> bytes:
        """The content of a file there.

        Raises:
            DeviceError: there is none, or it is larger than ``most`` bytes.
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

    def too_large(self, path: str, most: int) -> DeviceError:
        """The error for a file that holds more than it may."""
        return DeviceError(f"'{path}' on '{self._link.name}' is larger than {most / 1e6:.1f} MB.")

    def missing(self, path: str) -> DeviceError:
        """The error for a file that is not there."""
        return DeviceError(f"There is no file '{path}' on '{self._link.name}'.")


def part_of(path: str) -> str:
    """A name beside ``path`` that nobody else uses."""
    return f"{path}.{uuid.uuid4().hex}.part"


def keep_if_whole(part: str, path: str, size: int) -> str:
    """Shell text that gives ``part`` the name ``path`` if it holds ``size`` bytes, else deletes
    it.
    """
    old, new = shlex.quote(part), shlex.quote(path)
    return (
        f'[ "$(wc -c < {old})" -eq {size} ] && mv -f {old} {new} || '
        f"{{ code=$?; rm -f {old}; exit $code; }}"
    )


def make_parent(path: str) -> str:
    """Shell text that makes the folder of ``path``, and rids it of what was never finished."""
    folder = shlex.quote(path.rpartition("/")[0])
    stale = f"find {folder} -name '*.part' -type f -mtime +1 -exec rm -f {{}} +"
    return f"mkdir -p {folder} && {{ {stale} 2>/dev/null; true; }}"


def _plain(suffix: str) -> str:
    """A file's suffix where it is one; programs there split their arguments at commas."""
    return suffix if re.fullmatch(r"\.[A-Za-z0-9]+", suffix) else ""
