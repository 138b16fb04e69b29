"""What jobs need to have at hand, by content: a host that has it is not sent it again.

A parcel is a file or folder under its own name, described as data. On a host its files lie under
their hashes; a job opens them in a folder made of links to these.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srdeploy.errors import SrdeployError, UserError
from srdeploy.runtime.tensorrt.sidecar import onnx_path, sidecar_path
from srdeploy.util.files import cache_dir, discard, locked, settle, sha256
from srdeploy.util.shipped import shipped_networks

CHUNK = 1 << 21
KEEP_DAYS = 30.0


@dataclass(frozen=True)
class StoredContent:
    """A file or folder.

    Attributes:
        name: What it is called where it is opened.
        files: Of all its files, the path below the parcel's folder and the SHA-256.
    """

    name: str
    files: tuple[tuple[str, str], ...]

    @property
    def digest(self) -> str:
        """Of names and contents."""
        return hashlib.sha256(repr((self.name, self.files)).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "files": [list(file) for file in self.files]}

    @classmethod
    def of(cls, values: dict[str, Any]) -> StoredContent:
        """The parcel of :meth:`as_dict`."""
        return cls(values["name"], tuple((path, digest) for path, digest in values["files"]))


class PackedContents:
    """Parcels on this side, and where their contents lie."""

    def __init__(self) -> None:
        self.sources: dict[str, Path] = {}

    def pack(self, what: str) -> StoredContent:
        """The parcel of an artifact, a shipped network or a benchmark folder.

        Raises:
            UserError: there is no such thing.
        """
        path = Path(what)
        if not path.exists():
            if what not in shipped_networks():
                raise UserError(f"There is no file '{what}', and no shipped network of that name.")
            path = shipped_networks()[what]
        path = Path(os.path.abspath(path))  # not resolved: a link keeps its ending
        files = []
        for file in _files(path):
            digest = sha256(file)
            self.sources[digest] = file
            files.append((file.relative_to(path.parent).as_posix(), digest))
        return StoredContent(path.name, tuple(files))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    beside = [sidecar_path(path), onnx_path(path)] if path.suffix.lower() == ".engine" else []
    if path.suffix.lower() == ".onnx":
        beside = _external_data(path)
    return [path, *(file for file in beside if file.is_file())]


def _external_data(path: Path) -> list[Path]:
    """Files beside an ONNX file that hold its large tensors."""
    import onnx

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:
        return []  # whoever opens it says what is wrong with it
    names = {
        entry.value
        for tensor in graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [path.parent / name for name in sorted(names) if ".." not in Path(name).parts]


class HostCache:
    """The host's side: contents by hash, and folders made of them."""

    def __init__(self) -> None:
        self._root = cache_dir() / "farm"

    def lacking(self, digests: Iterable[str]) -> list[str]:
        """Those that are not here, or not what they should be: a disk may have damaged them."""
        return [one for one in dict.fromkeys(digests) if not _holds(self._content(one), one)]

    def receive(self, digest: str, offset: int, chunk: bytes, last: bool, sender: str) -> None:
        """Take a piece of a file; with the last one it is checked and becomes visible.

        Raises:
            SrdeployError: pieces are missing, or it is not what it was announced as.
            OSError: the disk is full.
        """
        incoming = self._root / "incoming" / f"{_plain(sender)}-{_plain(digest)}"
        incoming.parent.mkdir(parents=True, exist_ok=True)
        if offset == 0:
            incoming.unlink(missing_ok=True)
        with open(incoming, "ab") as stream:
            complete = stream.tell() == offset
            if complete:
                stream.write(chunk)
        if not complete or (last and sha256(incoming) != digest):
            incoming.unlink(missing_ok=True)
            raise SrdeployError("A file did not arrive as it was sent; it is sent again.")
        if last:
            target = self._content(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            settle(incoming, target)

    def folder(self, parcel: StoredContent) -> Path:
        """Where a parcel can be opened: the path of its file or folder.

        Everything in it must be here (:meth:`lacking`).
        """
        folder = self._root / "parcels" / parcel.digest
        with locked(self._root / "parcels.lock"):  # another job of this host may make it, too
            if not all(_holds(folder / _inside(name), digest) for name, digest in parcel.files):
                discard(folder, self._root)
                self._make(parcel, folder)
        os.utime(folder)
        for _, digest in parcel.files:
            os.utime(self._content(digest))
        return folder / _inside(parcel.name)

    def _make(self, parcel: StoredContent, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new") as temporary:
            made = Path(temporary) / "parcel"
            for name, digest in parcel.files:
                target = made / _inside(name)
                target.parent.mkdir(parents=True, exist_ok=True)
                _link(self._content(digest), target)
            with suppress(OSError):  # where nothing can be locked, another job may be faster
                made.rename(folder)

    def tidy(self, days: float = KEEP_DAYS) -> None:
        """Delete what no job has opened for so long."""
        oldest = time.time() - 86400 * days
        for pattern in ("content/*/*", "parcels/*", "incoming/*"):
            for path in self._root.glob(pattern):
                with suppress(FileNotFoundError):  # another worker of this host tidies too
                    if path.stat().st_mtime < oldest:
                        discard(path, self._root)

    def _content(self, digest: str) -> Path:
        return self._root / "content" / _plain(digest)[:2] / digest


def _holds(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and sha256(path) == digest
    except OSError:  # tidied away by another worker of this host, or an unreadable disk
        return False


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def _plain(word: str) -> str:
    if not word.isalnum():
        raise SrdeployError(f"'{word}' is no hash.")
    return word


def _inside(name: str) -> Path:
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise SrdeployError(f"'{name}' leads out of its parcel.")
    return path
