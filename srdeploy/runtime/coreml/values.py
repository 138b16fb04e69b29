"""Constants of a CoreML program: immediate values, and blobs of its weight file.

A weight file starts with a header of 64 bytes. A value names the offset of a record of 64 bytes
(magic number, type, length and position of the data, each little-endian); integers below eight
bits are packed tightly, the least significant bit first.
"""

from __future__ import annotations

import math
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.util.files import require_inside

_MAGIC = 0xDEADBEEF
_RECORD = struct.Struct("<IIQQ")
_TYPES: dict[str, type] = {
    **{"FLOAT16": np.float16, "FLOAT32": np.float32, "FLOAT64": np.float64, "BOOL": np.bool_},
    **{"INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64},
    **{"UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64},
}
_PACKED = {"UINT1": 1, "UINT2": 2, "UINT3": 3, "UINT4": 4, "UINT6": 6, "INT4": 4}

Constant = NDArray[Any] | str
"""A decoded value; scalars are arrays of rank 0."""


class Weights:
    """The weight files of one package, of which blobs are read when needed.

    A program may name any file, any place in it, and one blob a million times: files lie inside
    the package, and all blobs together are as large as what lies there, not larger.
    """

    def __init__(self, package: Path, folder: Path) -> None:
        self._package = package
        self._folder = folder  # what "@model_path" stands for
        self._files: dict[str, memoryview] = {}
        self._left = 0  # bytes that may still be read

    def read(self, name: str, offset: int) -> bytes:
        """The bytes of one blob.

        Raises:
            UserError: the file is missing, lies outside, is shorter than it should be, or has no
                blob there.
        """
        if name not in self._files:
            self._files[name] = self._open(name)
        data = self._files[name]
        record = bytes(data[offset : offset + _RECORD.size])
        magic, _, length, start = _RECORD.unpack(record.ljust(_RECORD.size, b"\0"))
        self._left -= length
        if magic != _MAGIC or start + length > len(data) or self._left < 0:
            raise UserError(
                f"The weights of '{self._package}' are truncated or damaged; "
                "copy or export it again."
            )
        return bytes(data[start : start + length])

    def _open(self, name: str) -> memoryview:
        path = self._folder / name.removeprefix("@model_path/")
        try:
            size = require_inside(path, self._folder)
            self._left += 2 * size  # networks may share a blob or two
            with open(path, "rb") as stream:
                return memoryview(mmap(stream.fileno(), 0, access=ACCESS_READ) if size else b"")
        except (UserError, OSError, ValueError):
            raise UserError(
                f"'{self._package}' lacks its weights ({path.name[-80:]}); copy or export it again."
            ) from None


def decode(value: Any, weights: Weights) -> Constant:
    """A value of the program (``MIL.Value``) as an array, or as a string.

    Raises:
        UserError: its blob cannot be read.
        ValueError: a kind of value that programs of networks do not have.
    """
    from coremltools.proto import MIL_pb2

    kind = value.type.tensorType
    name = MIL_pb2.DataType.Name(kind.dataType)
    shape = tuple(d.constant.size for d in kind.dimensions)
    if value.WhichOneof("value") == "blobFileValue":
        place = value.blobFileValue
        return _array(weights.read(place.fileName, place.offset), name, shape)
    if value.immediateValue.WhichOneof("value") != "tensor":
        raise ValueError(f"a {value.immediateValue.WhichOneof('value')} as a value")
    tensor = value.immediateValue.tensor
    stored = tensor.WhichOneof("value")
    if stored is None:
        if math.prod(shape) > 1:
            raise ValueError("a value without its numbers")
        return np.zeros(shape, _TYPES.get(name, np.float32))
    if stored == "bytes":
        return _array(tensor.bytes.values, name, shape)
    values = getattr(tensor, stored).values
    if stored == "strings":
        return str(values[0])
    return np.array(values, _TYPES[name]).reshape(shape)


def _array(data: bytes, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    count = math.prod(shape)
    if name in _TYPES:
        return np.frombuffer(data, _TYPES[name], count).reshape(shape)
    if name not in _PACKED:
        raise ValueError(f"values of type {name}")
    found = unpack(data, _PACKED[name], count)
    if name.startswith("INT"):  # two's complement of that many bits
        half = 1 << (_PACKED[name] - 1)
        found = ((found.astype(np.int16) ^ half) - half).astype(np.int8)
    return found.reshape(shape)


def unpack(data: bytes, bits: int, count: int) -> NDArray[np.uint8]:
    """``count`` integers of ``bits`` bits each, packed tightly with the lowest bit first."""
    every = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: bits * count]
    return np.packbits(every.reshape(count, bits), axis=1, bitorder="little").reshape(count)
