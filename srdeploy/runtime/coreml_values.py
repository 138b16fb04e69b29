"""Constants of a CoreML program: immediate values, and blobs of its weight file.

A weight file starts with a header of 64 bytes. A value names the offset of a record of 64 bytes
(magic number, type, length and position of the data, each little-endian); integers below eight
bits are packed tightly, the least significant bit first.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError

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
    """The weight files of one package, read when first needed."""

    def __init__(self, package: Path, folder: Path) -> None:
        self._package = package
        self._folder = folder  # what "@model_path" stands for
        self._files: dict[str, bytes] = {}

    def read(self, name: str, offset: int) -> bytes:
        """The bytes of one blob.

        Raises:
            UserError: the file is missing, shorter than it should be, or has no blob there.
        """
        if name not in self._files:
            path = self._folder / name.removeprefix("@model_path/")
            try:
                self._files[name] = path.read_bytes()
            except OSError:
                raise UserError(
                    f"'{self._package}' lacks its weights ({path.name}); copy or export it again."
                ) from None
        data = self._files[name]
        record = data[offset : offset + _RECORD.size]
        magic, _, length, start = _RECORD.unpack(record.ljust(_RECORD.size, b"\0"))
        if magic != _MAGIC or start + length > len(data):
            raise UserError(
                f"The weights of '{self._package}' are truncated or damaged; "
                "copy or export it again."
            )
        return data[start : start + length]


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
