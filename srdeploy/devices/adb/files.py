"""Files on an Android device, through adb's own push and pull."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

from srdeploy.devices.adb.connection import AdbConnection
from srdeploy.devices.answers import reading
from srdeploy.devices.shell.files import MOST_FILE, ShellFiles, keep_if_whole, make_parent, part_of


class AdbFiles(ShellFiles):
    """See :class:`srdeploy.devices.shell.files.ShellFiles`."""

    _link: AdbConnection

    def copy(self, source: Path, path: str) -> None:
        """Bring a file there under a path, whole or not at all."""
        what, size, part = f"copying to {path}", source.stat().st_size, part_of(path)
        made = self._link.script(make_parent(path), what=what, timeout=60)
        said = made.stderr
        if made.returncode == 0:
            pushed = self._link.transfer(
                "push", str(source.absolute()), part, what=what, megabytes=size / 1e6
            )
            said = pushed.stdout + pushed.stderr
            if pushed.returncode == 0:
                kept = self._link.script(keep_if_whole(part, path, size), what=what, timeout=60)
                if kept.returncode == 0:
                    return
                said = kept.stderr
            self._link.script(f"rm -f {shlex.quote(part)}", what=what, timeout=60)
        raise self.failure(said.decode(errors="replace"), f"'{path}' was not written")

    def write(self, path: str, content: bytes) -> None:
        """Write a file there, whole or not at all."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "content"
            source.write_bytes(content)
            self.copy(source, path)

    def read(self, path: str, most: int = MOST_FILE) -> bytes:
        """The content of a file there."""
        size = self._link.script(f"wc -c < {shlex.quote(path)}", timeout=60, what=f"reading {path}")
        if size.returncode:
            raise self.missing(path)
        with reading(self._link.name):
            told = int(size.stdout)
        if told > most:
            raise self.too_large(path, most)
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "content"
            what, megabytes = f"copying {path}", told / 1e6
            ended = self._link.transfer("pull", path, str(target), what=what, megabytes=megabytes)
            if ended.returncode:
                raise self.missing(path)
            if target.stat().st_size > most:
                raise self.too_large(path, most)
            return target.read_bytes()
