from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.runtime.coreml.values import Weights, decode, unpack

pytest.importorskip("coremltools")


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_packed_integers(bits: int) -> None:
    values = np.random.default_rng(bits).integers(0, 1 << bits, 37).astype(np.uint8)
    stream = 0
    for position, value in enumerate(values.tolist()):  # the lowest bit first, no gaps
        stream |= value << (bits * position)
    data = stream.to_bytes(-(-37 * bits // 8), "little")
    np.testing.assert_array_equal(unpack(data, bits, 37), values)


def blob(data: bytes, offset: int = 64) -> bytes:
    record = struct.pack("<IIQQ", 0xDEADBEEF, 1, len(data), offset + 64)
    return bytes(offset) + record.ljust(64, b"\0") + data


def value(kind: str, shape: tuple[int, ...], offset: int = 64):  # type: ignore[no-untyped-def]
    from coremltools.proto import MIL_pb2

    found = MIL_pb2.Value()
    found.type.tensorType.dataType = MIL_pb2.DataType.Value(kind)
    for size in shape:
        found.type.tensorType.dimensions.add().constant.size = size
    found.blobFileValue.fileName = "@model_path/weights/weight.bin"
    found.blobFileValue.offset = offset
    return found


def test_blobs(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "weight.bin"
    weights = lambda: Weights(Path("net.mlpackage"), tmp_path)  # noqa: E731

    half = np.arange(6, dtype=np.float16).reshape(2, 3) / 7
    file.write_bytes(blob(half.tobytes()))
    np.testing.assert_array_equal(decode(value("FLOAT16", (2, 3)), weights()), half)

    file.write_bytes(blob(bytes([0x8F, 0x70])))  # two's complement of four bits
    found = decode(value("INT4", (4,)), weights())
    np.testing.assert_array_equal(found, np.array([-1, -8, 0, 7]))

    with pytest.raises(UserError, match=r"weights of 'net.mlpackage' are truncated or damaged"):
        decode(value("FLOAT16", (2, 3), offset=8), weights())
    file.write_bytes(blob(half.tobytes())[:-1])
    with pytest.raises(UserError, match="truncated or damaged"):
        decode(value("FLOAT16", (2, 3)), weights())
    file.unlink()
    with pytest.raises(UserError, match=r"lacks its weights \(weight.bin\)"):
        decode(value("FLOAT16", (2, 3)), weights())
    with pytest.raises(ValueError, match="values of type UNUSED_TYPE"):
        file.write_bytes(blob(b"12"))
        strange = value("FLOAT16", (1,))
        strange.type.tensorType.dataType = 0
        decode(strange, weights())
