"""Arrays from strangers: every way numpy writes them is read, and no claim is believed."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import sys
import tracemalloc
import types
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzzing import mutations
from srdeploy.data.decoded import read_decoded
from srdeploy.errors import UserError

PIXELS = (np.arange(5 * 7 * 3) * 2477 % 65536).reshape(5, 7, 3)
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "other axes first": lambda a: np.ascontiguousarray(a.transpose(1, 0, 2)).transpose(1, 0, 2),
    "part of another": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5, "npy", "npy 2", "npy 3"])
def test_whatever_numpy_writes(tmp_path: Path, layout, dtype: str, protocol: int | str) -> None:
    array = layout(PIXELS.astype(dtype))
    path = tmp_path / ("a.pt" if isinstance(protocol, int) else "a.npy")
    with open(path, "wb") as file:
        if isinstance(protocol, int):
            pickle.dump(array, file, protocol)
        else:
            version = None if protocol == "npy" else (int(protocol[-1]), 0)
            np.lib.format.write_array(file, array, version)
    read = read_decoded(path)
    np.testing.assert_array_equal(read, PIXELS.astype(dtype))
    assert read.dtype == np.dtype(dtype[-2:])
    assert read.dtype.isnative
    assert read.flags.c_contiguous
    assert read.flags.writeable


def test_imageios_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Array(np.ndarray):
        pass

    Array.__module__, Array.__qualname__ = "imageio.core.util", "Array"
    module = types.ModuleType("imageio.core.util")
    module.Array = Array  # type: ignore[attr-defined]
    for name in ("imageio", "imageio.core"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "imageio.core.util", module)
    for protocol in range(6):
        data = pickle.dumps(PIXELS.astype("u1").view(Array), protocol)
        (tmp_path / "a.pt").write_bytes(data)
        assert b"imageio" in data
        np.testing.assert_array_equal(read_decoded(tmp_path / "a.pt"), PIXELS.astype("u1"))


def text(value: bytes) -> bytes:
    return b"T" + struct.pack("<I", len(value)) + value


def python2(
    content: bytes = text(PIXELS.astype("u1").tobytes()),
    shape: bytes = b"K\x05K\x07K\x03\x87",
    code: bytes = text(b"u1"),
    state: bytes = b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t",
    kind: bytes = b"cnumpy\nndarray\n",
) -> bytes:
    """What ``pickle.dumps(array, 2)`` of Python 2 wrote, with parts replaced."""
    dtype = b"cnumpy\ndtype\n" + code + b"K\x00K\x01\x87R" + state + b"b"
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n" + kind + b"K\x00\x85" + text(b"b")
    return head + b"\x87R(K\x01" + shape + dtype + b"\x89" + content + b"tb."


def test_python_2(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(python2())
    np.testing.assert_array_equal(read_decoded(tmp_path / "a.pt"), PIXELS.astype("u1"))
    # Python's own unpickler agrees that this is one.
    assert pickle.loads(python2(), encoding="latin1").shape == (5, 7, 3)


def state(*parts: bytes) -> bytes:
    return b"(K\x03" + b"".join(parts) + b"t"


MINUS = b"J\xff\xff\xff\xff"
POINTERS = b"B" + struct.pack("<I", 128) + b"\x41" * 128
SIXTEEN = b"K\x10\x85"
OBJECT = b"cnumpy\ndtype\n" + text(b"O8") + b"K\x00K\x01\x87R"
FIELDS = b"}" + text(b"a") + OBJECT + b"K\x00\x86s"
NAMES = text(b"a") + b"\x85"
HUGE = b"\x8a\x09" + (1 << 62).to_bytes(9, "little")
HOSTILE = {
    "a number type that hides an object": python2(
        POINTERS,
        SIXTEEN,
        text(b"V8"),
        state(text(b"|"), b"N", NAMES, FIELDS, b"K\x08", b"K\x01", b"K\x01"),
    ),
    "a number type within a number type": python2(
        POINTERS,
        SIXTEEN,
        text(b"V8"),
        state(text(b"|"), OBJECT + b"K\x01\x85\x86", b"NN", b"K\x08", b"K\x01", b"K\x01"),
    ),
    "bytes that are numbers and objects": python2(
        POINTERS,
        b"K\x80\x85",
        state=state(text(b"|"), b"N", NAMES, FIELDS, b"K\x01", b"K\x01", b"K\x01"),
    ),
    "objects": python2(code=text(b"O8")),
    "records": python2(code=text(b"V8")),
    "a type that is no text": python2(code=b"]"),
    "a type without a state": python2(state=b"N"),
    "a byte order that is none": python2(
        state=state(text(b"!"), b"NNN", MINUS, MINUS, b"K\x00"), code=text(b"u2")
    ),
    "more pixels than bytes": python2(shape=b"K\x05K\x07K\x04\x87"),
    "fewer pixels than bytes": python2(shape=b"K\x05K\x07K\x02\x87"),
    "a shape whose product turns over": python2(shape=HUGE + b"K\x04K\x00\x87", content=text(b"")),
    "no bytes for a huge shape": python2(shape=HUGE + b"K\x04K\x03\x87", content=text(b"")),
    "a negative side": python2(shape=MINUS + b"K\x07K\x03\x87"),
    "a shape that is none": python2(shape=b"N"),
    "a shape of many": python2(shape=b"(" + b"K\x01" * 100 + b"t"),
    "numbers that are a list": python2(content=b"]"),
    "text that stands for no bytes": python2(content=b"X\x03\x00\x00\x00\xe2\x82\xac"),
    "another class": python2(kind=b"cnumpy\nmatrix\n"),
    "a class that is none": python2(kind=b"N"),
    "no state": python2()[: python2().rindex(b"(K\x01")] + b".",
    "a memo of gigabytes": b"\x80\x02Nr\xf0\xff\xff\xff.",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",
    "a number of a billion digits": b"\x80\x02\x8b\xff\xff\xff\x3fx.",
    "bytes outside the file": b"\x80\x05\x97.",
    "numpy's own file reader": b"\x80\x02cnumpy\nload\nU\x06x.npy\x85R.",
    "a buffer of a wrong length": b"\x80\x04cnumpy._core.numeric\n_frombuffer\n(C\x03abc"
    + python2()[python2().index(b"cnumpy\ndtype") : python2().index(b"\x89T")]
    + b"K\x02K\x02\x86U\x01CtR.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"cannot be read as an array|holds .* an image is uint8"):
        read_decoded(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_the_payload_is_real() -> None:
    """Python's own unpickler builds the array of pointers from the file, and falls over it."""
    if (child := os.fork()) == 0:
        try:
            array = pickle.loads(HOSTILE["a number type that hides an object"])
            os._exit(7 if array.dtype.fields["a"][0].hasobject else 0)
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] != 0


def npy(header: str, content: bytes = b"", version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + content


def header(descr: str = "'|u1'", shape: str = "(2, 2)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


HOSTILE_NPY = {
    "a huge shape": npy(header(shape="(1000000, 1000000)"), bytes(4)),
    "a shape that turns over": npy(header(shape="(4294967296, 4294967296)")),
    "numbers without end": npy(header(shape="(" + "9" * 3000 + ",)"), bytes(4)),
    "a negative side": npy(header(shape="(-2, -2)"), bytes(4)),
    "too many bytes": npy(header(), bytes(5)),
    "objects": npy(header(descr="'|O'"), bytes(32)),
    "records": npy(header(descr="[('a', '<f4')]"), bytes(16)),
    "a call": npy(header(shape="print('ran')"), bytes(4)),
    "deep nesting": npy(header(shape="(" * 2000 + ")" * 2000), bytes(4)),
    "a header of 4 GB": b"\x93NUMPY\2\0\xff\xff\xff\xff",
    "no header": b"\x93NUMPY\1\0",
    "another format": b"PK\3\4" + bytes(30),
}


@pytest.mark.parametrize("content", HOSTILE_NPY.values(), ids=HOSTILE_NPY)
def test_hostile_npy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as an array|holds .* an image is uint8"):
        read_decoded(tmp_path / "a.npy")


def test_python_2_on_windows_wrote_its_shapes_with_an_l(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy(header(shape="(2L, 2L)"), b"\1\2\3\4"))
    assert read_decoded(tmp_path / "a.npy")[..., 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.skipif(os.name != "posix", reason="pipes have names on POSIX only")
def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(UserError, match="is no file"):
        read_decoded(tmp_path / "a.pt")


def test_a_file_without_end_is_not_read_to_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("srdeploy.data.decoded._MAX_BYTES", 1000)
    np.save(tmp_path / "a.npy", np.zeros((20, 20, 3), "u1"))
    with pytest.raises(UserError, match="too long for an array"):
        read_decoded(tmp_path / "a.npy")


@pytest.mark.parametrize("form", [2, 5, "npy"])
def test_mutations(tmp_path: Path, form: int | str) -> None:
    """Each is read as an image of its bytes, or refused in one sentence."""
    stream = io.BytesIO()
    if isinstance(form, int):
        pickle.dump(PIXELS.astype("<u2"), stream, form)
    else:
        np.save(stream, PIXELS.astype("<u2"))
    path = tmp_path / ("a.pt" if isinstance(form, int) else "a.npy")
    for _, data in islice(mutations(stream.getvalue(), 0), 320):
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            array = read_decoded(path)
            assert array.nbytes <= len(data)
            assert str(array.dtype) in ("uint8", "uint16")
