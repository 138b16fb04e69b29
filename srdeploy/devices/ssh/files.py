"""Files on an ssh host, through its shell: no sftp server is needed there."""

from __future__ import annotations

import shlex
from pathlib import Path

from srdeploy.devices.shell.files import MOST_FILE, ShellFiles, keep_if_whole, make_parent, part_of


class SshFiles(ShellFiles):
    """See :class:`srdeploy.devices.shell.files.ShellFiles`."""

    def copy(self, source: Path, path: str) -> None:
        """Bring a file there under a path."""
        self.write(path, source.read_bytes())

    def write(self, path: str, content: bytes) -> None:
        """Write a file there, whole or not at all."""
        part = part_of(path)
        script = (
            f"{make_parent(path)} && cat > {shlex.quote(part)} && "
            f"{keep_if_whole(part, path, len(content))}"
        )
        ended = self._link.script(script, stdin=content, what=f"copying to {path}")
        if ended.returncode:
            raise self.failure(ended.stderr.decode(errors="replace"), f"'{path}' was not written")

    def read(self, path: str, most: int = MOST_FILE) -> bytes:
        """The content of a file there."""
        ended = self._link.run(["cat", path], most=most)
        if ended.returncode:
            raise self.missing(path)
        return ended.stdout
