"""Checkpoints written by ``torch.save``, read without running anything in them.

Both containers are understood: the zip archive of torch 1.6 and later, and the older stream of
five pickles followed by raw storages, down to whole modules pickled under Python 2. The pickles go
through :mod:`srdeploy.models.importing.pickle_machine`; this module finds the numbers they refer to
and checks every claim (length, shape, stride) against the bytes that are there.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import torch

from srdeploy.errors import UserError
from srdeploy.models.importing.inert import MalformedPickle, StorageRef, TensorRef, storage_key
from srdeploy.models.importing.pickle_machine import Pickle, load

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_MAX_DIMENSIONS = 8
_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        *("float64", "float32", "float16", "bfloat16"),
        *("int64", "int32", "int16", "int8", "uint8", "bool"),
    )
} | {"double": torch.float64, "float": torch.float32, "half": torch.float16, "long": torch.int64}

_FOREIGN_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", "is a TensorFlow Lite model; convert its weights to a torch state dict first"),
    (0, b"\x89HDF", "is an HDF5 file, not a torch checkpoint; save the network with torch.save"),
    (257, b"ustar", "is a checkpoint of torch 0.1 (tar); load and save it again with torch 1.x"),
)


class Checkpoint:
    """A checkpoint's content with its tensors still on disk.

    Attributes:
        root: Containers and scalars, :class:`~.inert.Record` for every object of a class
            (whole modules included), :class:`~.inert.TensorRef` for every tensor.
        ignored: What the file wanted called or built and did not get, sorted by name.
        n_bytes: Length of the file.
    """

    def __init__(self, path: Path, pickle: Pickle, read: Callable[[StorageRef], bytes]) -> None:
        self.root = pickle.value
        self.ignored = tuple(sorted(pickle.ignored))
        self.n_bytes = path.stat().st_size
        self._path = path
        self._read = read

    def tensor(self, ref: TensorRef, name: str) -> torch.Tensor:
        """The tensor's numbers, in memory of its own.

        Raises:
            UserError: its shape does not fit the bytes in the file; ``name`` is in the sentence.
        """
        dtype = _DTYPES.get(ref.dtype)
        if dtype is None:
            raise UserError(
                f"Tensor '{name}' in '{self._path}' has the type {ref.dtype[:40]}, which cannot be "
                "imported; save the network in float32."
            )
        try:
            data = self._read(ref.storage)
        except MalformedPickle as error:
            raise _damaged(self._path, error) from error
        n_stored = len(data) // dtype.itemsize
        extent = _extent(ref)
        if extent is None or extent > n_stored or _count(ref.size) > n_stored:
            raise UserError(
                f"Tensor '{name}' in '{self._path}' claims more numbers than the file holds; "
                "the file is damaged."
            )
        if not n_stored or not extent:
            return torch.empty(ref.size, dtype=dtype)
        flat = torch.frombuffer(bytearray(data), dtype=dtype, count=n_stored)
        return flat.as_strided(ref.size, ref.stride, ref.offset).clone(
            memory_format=torch.contiguous_format
        )


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file written by ``torch.save``; nothing in it runs, and no name in it is looked up.

    Raises:
        UserError: the file is missing, empty, truncated, damaged, or something else altogether.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise UserError(f"Cannot read '{path}' ({error.strerror}).") from error
    if not head:
        raise UserError(f"'{path}' is empty; download or copy it again.")
    for offset, magic, sentence in _FOREIGN_MAGIC:
        if head[offset : offset + len(magic)] == magic:
            raise UserError(f"'{path}' {sentence}.")
    try:
        return _read_zip(path) if head[:4] == b"PK\x03\x04" else _read_legacy(path, head)
    except MalformedPickle as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: Exception) -> UserError:
    return UserError(f"'{path}' is not a readable torch checkpoint: {reason}.")


def _extent(ref: TensorRef) -> int | None:
    """One past the last element the window touches, 0 for an empty one, None for nonsense."""
    if len(ref.size) != len(ref.stride) or len(ref.size) > _MAX_DIMENSIONS:
        return None
    if 0 in ref.size:
        return 0 if max(ref.size) < 1 << 31 else None
    steps = zip(ref.size, ref.stride, strict=True)
    return ref.offset + 1 + sum((n - 1) * stride for n, stride in steps)


def _count(size: tuple[int, ...]) -> int:
    total = 1
    for n in size:
        total *= n
    return total


# The zip container: <name>/data.pkl, <name>/data/<key>, <name>/byteorder


def _read_zip(path: Path) -> Checkpoint:
    archive = _open_zip(path)
    members = frozenset(archive.namelist())
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise MalformedPickle("it is a zip archive without a torch pickle inside")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in members:
        raise UserError(
            f"'{path}' is a TorchScript archive, which is a program; "
            "save the network's state_dict() with torch.save instead."
        )
    order = f"{folder}byteorder"
    if order in members and _zip_read(archive, order).strip() != b"little":
        raise UserError(f"'{path}' was written on a big-endian machine; save it again on another.")
    pickle = load(io.BytesIO(_zip_read(archive, pickles[0])))

    def read(ref: StorageRef) -> bytes:
        member = f"{folder}data/{ref.key}"
        if member not in members:
            raise MalformedPickle("numbers that it refers to are not in the archive")
        return _view_of(_zip_read(archive, member), ref)

    return Checkpoint(path, pickle, read)


_ZIP_ERRORS = (
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


def _open_zip(path: Path) -> zipfile.ZipFile:
    """The archive, once its members' claimed sizes fit the file (torch never compresses)."""
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise MalformedPickle("the archive is damaged or truncated") from error
    if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
        raise MalformedPickle("the archive claims more bytes than the file has")
    return archive


def _zip_read(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        return archive.read(member)
    except _ZIP_ERRORS as error:
        raise MalformedPickle("the archive is damaged (a member cannot be read)") from error


# The older container: magic, protocol, system, object, storage keys; then length + raw numbers each


def _read_legacy(path: Path, head: bytes) -> Checkpoint:
    _check_magic(head)  # before a file of any size and kind is read into memory
    data = path.read_bytes()
    stream = io.BytesIO(data)
    _read_header(stream)
    pickle = load(stream)
    keys = load(stream).value
    if not isinstance(keys, list):
        raise MalformedPickle("the list of stored numbers is missing")
    spans = _storage_spans(stream, keys, pickle, len(data))

    def read(ref: StorageRef) -> bytes:
        if ref.key not in spans:
            raise MalformedPickle("numbers that it refers to are not in the file")
        start, stop = spans[ref.key]
        return _view_of(data[start:stop], ref)

    return Checkpoint(path, pickle, read)


def _check_magic(head: bytes) -> None:
    try:
        magic = load(io.BytesIO(head)).value
    except MalformedPickle:
        magic = None
    if magic != _MAGIC:
        raise MalformedPickle("it does not begin like one (torch.save writes another header)")


def _read_header(stream: io.BytesIO) -> None:
    load(stream)  # the magic number, checked before
    if load(stream).value != _PROTOCOL:
        raise MalformedPickle("its protocol version is unknown")
    if not isinstance(load(stream).value, dict):
        raise MalformedPickle("its description of the machine is missing")


def _storage_spans(
    stream: io.BytesIO, keys: list[object], pickle: Pickle, n_bytes: int
) -> dict[str, tuple[int, int]]:
    """Byte range of each storage; on disk each is an int64 length and little-endian numbers."""
    spans: dict[str, tuple[int, int]] = {}
    for key in keys:
        ref = pickle.storages.get(storage_key(key))
        if ref is None:
            raise MalformedPickle("it stores numbers that nothing refers to")
        header = stream.read(8)
        numel = struct.unpack("<q", header)[0] if len(header) == 8 else -1
        start = stream.tell()
        stop = start + ref.numel * _DTYPES[ref.dtype].itemsize
        if numel != ref.numel or stop > n_bytes:
            raise MalformedPickle("it is truncated: numbers that it announces are not there")
        spans[ref.key] = (start, stop)
        stream.seek(stop)
    return spans


def _view_of(data: bytes, ref: StorageRef) -> bytes:
    size = _DTYPES[ref.dtype].itemsize
    if len(data) < ref.numel * size:
        raise MalformedPickle("it is truncated: numbers that it announces are not there")
    if ref.view is None:
        return data[: ref.numel * size]
    start, length = ref.view
    if start + length > ref.numel:
        raise MalformedPickle("a view reaches beyond its stored numbers")
    return data[start * size : (start + length) * size]
