"""The zip archive of ``torch.save``: its members, each told once, as long as it says, and plain.

Two programs must not read two different things out of one file, so whatever is ambiguous is
refused: doubled names (in any case: torch compares names without it), names that lead out of the
archive, numbers that are compressed (torch never does), sizes that the file cannot hold.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from srdeploy.pickles.inert import MalformedPickle

_MAX_DIRECTORY = 32 << 20
"""Bytes of the list of members; a checkpoint of 10,000 tensors has some 1 MB."""

_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
    EOFError,
    OSError,
    struct.error,
)


class Archive:
    """The members of a zip file, read one at a time.

    Attributes:
        members: Their entries in the archive's list, by name.

    Raises:
        MalformedPickle: the file is no archive, is ambiguous, or claims more than it holds.
    """

    def __init__(self, path: Path) -> None:
        _check_directory(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except _ERRORS as error:
            raise _damaged() from error
        entries = self._archive.infolist()
        plain = [entry for entry in entries if entry.compress_type == zipfile.ZIP_STORED]
        if sum(entry.file_size for entry in plain) > path.stat().st_size:  # of others none is read
            raise MalformedPickle("the archive claims more bytes than the file has")
        seen: set[str] = set()
        for entry in entries:
            _check_entry(entry)
            if (name := entry.filename.casefold()) in seen:
                raise MalformedPickle("the archive has two members of one name; save it again")
            seen.add(name)
        self.members = {entry.filename: entry for entry in entries}

    def read(self, member: str, most: int | None = None) -> bytes:
        """All bytes of a member, their checksum verified.

        Raises:
            MalformedPickle: it is damaged, compressed, or longer than ``most`` bytes.
        """
        entry = self.members[member]
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise MalformedPickle("its numbers are compressed, which torch never does")
        if most is not None and entry.file_size > most:
            raise MalformedPickle("the structure around its tensors is far too large")
        try:
            return self._archive.read(entry)
        except _ERRORS as error:
            raise MalformedPickle("the archive is damaged (a member cannot be read)") from error


def _damaged() -> MalformedPickle:
    return MalformedPickle("the archive is damaged or truncated")


def _check_directory(path: Path) -> None:
    """Bound the list of members before Python makes objects of it, ten times as large.

    The record at the very end gives its length (bytes 12 to 16); before it may lie a locator of 20
    bytes and before that the record of large archives (bytes 40 to 48 of 56).
    """
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 98, 0))
        tail = file.read()
    if tail[-22:-18] != b"PK\5\6" or tail[-2:] != b"\0\0":
        raise _damaged()
    (length,) = struct.unpack("<I", tail[-10:-6])
    if tail[-42:-38] == b"PK\6\7" and len(tail) == 98:
        (length,) = struct.unpack("<Q", tail[40:48])
    if length > _MAX_DIRECTORY:
        raise MalformedPickle("the archive lists far more members than a network has tensors")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or entry.filename != entry.orig_filename:
        raise MalformedPickle("the archive has a member whose name leads elsewhere")
