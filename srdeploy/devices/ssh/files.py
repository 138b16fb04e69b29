"""Files on an ssh host, by content: each travels once."""

from __future__ import annotations

import shlex
from pathlib import Path

from srdeploy.devices.errors import DeviceError, DeviceFull
from srdeploy.devices.ssh.connection import SshConnection
from srdeploy.errors import UserError
from srdeploy.files import atomic_path, sha256

_FULL = "No space left on device"
_QUOTA = "Disk quota exceeded"


class SshFiles:
    """See :class:`srdeploy.devices.protocol.Files`.

    Args:
        connection: Where to.
        folder: The folder of ours there, an absolute path.
    """

    def __init__(self, connection: SshConnection, folder: str) -> None:
        self._connection = connection
        self.folder = folder

    def push(self, source: Path) -> str:
        """Bring a file there under its content's hash, if it is not there yet."""
        if not source.is_file():
            raise UserError(f"There is no file '{source}'.")
        path = f"{self.folder}/files/{sha256(source)}{source.suffix}"
        if not self.exists(path):
            self.write(path, source.read_bytes())
        return path

    def write(self, path: str, content: bytes) -> None:
        """Write a file there, whole or not at all.

        Raises:
            DeviceFull: no space is left.
            DeviceError: the folder cannot be written to.
        """
        target, part = shlex.quote(path), shlex.quote(f"{path}.part")
        script = (
            f"mkdir -p {shlex.quote(path.rpartition('/')[0])} && cat > {part} && "
            f'[ "$(wc -c < {part})" -eq {len(content)} ] && mv {part} {target} || '
            f"{{ code=$?; rm -f {part}; exit $code; }}"
        )
        ended = self._connection.script(script, stdin=content, what=f"copying to {path}")
        if ended.returncode:
            raise self.failure(ended.stderr.decode(errors="replace"), f"'{path}' was not written")

    def read(self, path: str) -> bytes:
        """The content of a file there.

        Raises:
            DeviceError: there is none.
        """
        ended = self._connection.run(["cat", path])
        if ended.returncode:
            raise DeviceError(f"There is no file '{path}' on '{self._connection.name}'.")
        return ended.stdout

    def pull(self, path: str, target: Path) -> None:
        """Bring a file here, whole or not at all."""
        content = self.read(path)
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)

    def remove(self, path: str) -> None:
        """Delete a file there."""
        self._connection.run(["rm", "-f", path])

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        return self._connection.run(["test", "-f", path]).returncode == 0

    def failure(self, said: str, what: str) -> DeviceError:
        """The error for a command that could not write; ``said`` is its complaint."""
        name = self._connection.name
        if _FULL in said or _QUOTA in said:
            return DeviceFull(
                f"No space is left on '{name}' in '{self.folder}': {what}; free some, or name "
                "another folder with ?dir=PATH."
            )
        last = (said.strip().splitlines() or ["it gave no reason"])[-1]
        return DeviceError(f"On '{name}': {what} ({last}).")
