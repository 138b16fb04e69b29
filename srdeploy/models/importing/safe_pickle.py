"""Checkpoints written by ``torch.save``, read without running anything in them.

Both containers are understood: the zip archive of torch 1.6 and later, and the older stream of
five pickles followed by raw storages, down to whole modules pickled under Python 2. The pickles go
through :mod:`srdeploy.pickles.machine`; this module finds the numbers they refer to and checks
every claim (length, shape, stride) against the bytes that are there. What is read and what is built
is bounded by the file's own size.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import torch

from srdeploy.errors import UserError
from srdeploy.models.importing.torch_values import (
    CONSTRUCTORS,
    StorageRef,
    Storages,
    TensorRef,
    storage_key,
)
from srdeploy.models.importing.torch_zip import Archive
from srdeploy.pickles.inert import MalformedPickle
from srdeploy.pickles.machine import Pickle, load

_MAX_PICKLE = 64 << 20
"""Bytes of the structure around the tensors: names, shapes, settings."""

_MAX_REREAD = 8  # times the file's size that may be read, since tensors may share numbers
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
        root: Containers and scalars, :class:`~srdeploy.pickles.inert.Record` for every object of a
            class (whole modules included), :class:`~.torch_values.TensorRef` for every tensor.
        ignored: What the file wanted called or built and did not get, sorted by name.
        n_bytes: Length of the file.
    """

    def __init__(self, path: Path, pickle: Pickle, read: Callable[[StorageRef], bytes]) -> None:
        self.root = pickle.value
        self.ignored = tuple(sorted(pickle.ignored))
        self.n_bytes = path.stat().st_size
        self._path = path
        self._read = read
        self._numbers: tuple[StorageRef | None, bytearray] = (None, bytearray())
        self._n_read = 0

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
        data = self._stored(ref.storage)
        n_stored = len(data) // dtype.itemsize
        extent = _extent(ref)
        if extent is None or extent > n_stored or _count(ref.size) > n_stored:
            raise UserError(
                f"Tensor '{name}' in '{self._path}' claims more numbers than the file holds; "
                "the file is damaged."
            )
        if not extent:
            return torch.zeros(ref.size, dtype=dtype)  # without elements
        flat = torch.frombuffer(data, dtype=dtype, count=n_stored)
        return flat.as_strided(ref.size, ref.stride, ref.offset).clone(
            memory_format=torch.contiguous_format
        )

    def _stored(self, ref: StorageRef) -> bytearray:
        """A storage's numbers; the last one is kept, for its tensors usually follow each other."""
        if self._numbers[0] != ref:
            try:
                self._numbers = ref, bytearray(self._read(ref))
            except (MalformedPickle, OSError) as error:
                raise _damaged(self._path, error) from error
            self._n_read += len(self._numbers[1])
            if self._n_read > _MAX_REREAD * self.n_bytes:
                raise UserError(
                    f"The tensors in '{self._path}' would be read far more often than the file "
                    "is long; it is damaged or was made to exhaust time."
                )
        return self._numbers[1]


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
    except (MalformedPickle, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: Exception) -> UserError:
    return UserError(f"'{path}' is not a readable torch checkpoint: {reason}.")


def _extent(ref: TensorRef) -> int | None:
    """One past the last element the window touches, 0 for an empty one, None for nonsense."""
    if len(ref.size) != len(ref.stride) or len(ref.size) > _MAX_DIMENSIONS:
        return None
    if 0 in ref.size:  # torch multiplies what is left all the same
        return 0 if _count(tuple(n for n in ref.size if n)) < 1 << 31 else None
    steps = zip(ref.size, ref.stride, strict=True)
    return ref.offset + 1 + sum((n - 1) * stride for n, stride in steps)


def _count(size: tuple[int, ...]) -> int:
    total = 1
    for n in size:
        total *= n
    return total


# The zip container: <name>/data.pkl, <name>/data/<key>, <name>/byteorder


def _read_zip(path: Path) -> Checkpoint:
    archive = Archive(path)
    pickles = [name for name in archive.members if f"/{name}".endswith("/data.pkl")]
    if len(pickles) != 1:
        raise MalformedPickle("it is a zip archive without a torch pickle inside")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in archive.members:
        raise UserError(
            f"'{path}' is a TorchScript archive, which is a program, and srdeploy runs none; "
            f"give its tensors: torch.save(torch.jit.load('{path}').state_dict(), "
            f"'{path.stem}-weights.pth')."
        )
    order = f"{folder}byteorder"
    if order in archive.members and archive.read(order, 100).strip() != b"little":
        raise UserError(
            f"'{path}' was written in another byte order than little-endian; "
            "load and save it again on a common machine."
        )
    storages = Storages()
    stream = io.BytesIO(archive.read(pickles[0], _MAX_PICKLE))
    pickle = load(stream, CONSTRUCTORS, storages.persistent)

    def read(ref: StorageRef) -> bytes:
        member = f"{folder}data/{ref.key}"
        if member not in archive.members:
            raise MalformedPickle("numbers that it refers to are not in the archive")
        return _view_of(archive.read(member), ref)

    return Checkpoint(path, pickle, read)


# The older container: magic, protocol, system, object, storage keys; then length + raw numbers each


def _read_legacy(path: Path, head: bytes) -> Checkpoint:
    _check_magic(head)  # before a file of any size and kind is read into memory
    with open(path, "rb") as file:
        n_bytes = path.stat().st_size
        stream = io.BytesIO(file.read(min(n_bytes, _MAX_PICKLE)))
        _read_header(stream)
        storages = Storages()
        pickle = load(stream, CONSTRUCTORS, storages.persistent)
        keys = load(stream).value
        if not isinstance(keys, list):
            raise MalformedPickle("the list of stored numbers is missing")
        file.seek(stream.tell())
        spans = _storage_spans(file, keys, storages, n_bytes)

    def read(ref: StorageRef) -> bytes:
        if ref.key not in spans:
            raise MalformedPickle("numbers that it refers to are not in the file")
        start, length = spans[ref.key]
        with open(path, "rb") as file:
            file.seek(start)
            return _view_of(file.read(length), ref)

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
    file: BinaryIO, keys: list[object], storages: Storages, n_bytes: int
) -> dict[str, tuple[int, int]]:
    """First byte and length of each storage; on disk, an int64 count and little-endian numbers."""
    spans: dict[str, tuple[int, int]] = {}
    for key in keys:
        ref = storages.by_key.get(storage_key(key))
        if ref is None:
            raise MalformedPickle("it stores numbers that nothing refers to")
        header = file.read(8)
        numel = struct.unpack("<q", header)[0] if len(header) == 8 else -1
        start, length = file.tell(), ref.numel * _DTYPES[ref.dtype].itemsize
        if numel != ref.numel or start + length > n_bytes:
            raise MalformedPickle("it is truncated: numbers that it announces are not there")
        spans[ref.key] = start, length
        file.seek(start + length)
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
