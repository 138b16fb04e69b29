"""Array files: which are images, and where every check of their claims lies."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from srdeploy.data import array_bytes as module
from srdeploy.data import decoded
from srdeploy.data.array_bytes import NotPixels, array_of_npy, array_of_pickle
from srdeploy.data.decoded import read_decoded
from srdeploy.errors import UserError
from srdeploy.pickles.inert import Global, MalformedPickle, Record


@pytest.mark.parametrize(
    ("shape", "read"),
    [((4, 5), (4, 5, 1)), ((4, 5, 1), (4, 5, 1)), ((4, 5, 4), (4, 5, 4)), ((1, 1), (1, 1, 1)),
     ((4, 5, 5), None), ((4, 5, 0), None), ((0, 5), None), ((4,), None), ((1, 2, 3, 1), None),
     ((), None)],
)  # fmt: skip
def test_shapes_of_images(shape: tuple, read: tuple | None, tmp_path: Path) -> None:
    np.save(tmp_path / "a.NPY.npy", np.zeros(shape, np.uint8))
    path = (tmp_path / "a.NPY.npy").rename(tmp_path / "a.NPY")
    if read is not None:
        assert read_decoded(path).shape == read
        return
    told = r"holds uint8 \[.*\]; an image is uint8 or uint16, \[H, W\] or \[H, W, 1 to 4\]"
    with pytest.raises(UserError, match=told):
        read_decoded(path)


def test_files_up_to_a_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 5), np.uint8))
    length = (tmp_path / "a.npy").stat().st_size
    monkeypatch.setattr(decoded, "_MAX_BYTES", length)
    assert read_decoded(tmp_path / "a.npy").shape == (4, 5, 1)
    monkeypatch.setattr(decoded, "_MAX_BYTES", length - 1)
    with pytest.raises(UserError, match=r"longer than 0 MB, too long for an array of pixels"):
        read_decoded(tmp_path / "a.npy")
    monkeypatch.undo()
    assert decoded._MAX_BYTES == 256 * 1024**2
    with open(tmp_path / "b.npy", "wb") as file:
        file.truncate(256 * 1024**2 + 1)
    with pytest.raises(UserError, match="longer than 256 MB"):
        read_decoded(tmp_path / "b.npy")


def test_what_is_not_there_or_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="There is no image"):
        read_decoded(tmp_path / "a.npy")
    with pytest.raises(UserError, match="is no file; give an image"):
        read_decoded(tmp_path)
    np.save(tmp_path / "a.npy", np.zeros((4, 5), np.uint8))

    def fails(*_: object) -> None:
        raise OSError(5, "Broken")

    monkeypatch.setattr("builtins.open", fails)
    with pytest.raises(UserError, match=r"Cannot read '.*a\.npy' \(Broken\)"):
        read_decoded(tmp_path / "a.npy")


def npy(header: str, content: bytes = b"", version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode("latin-1") + content


def header(descr: object = "|u1", shape: object = (2, 2), **more: object) -> str:
    return repr({"descr": descr, "fortran_order": False, "shape": shape, **more})


@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_up_to_a_length(version: int) -> None:
    text = header()
    assert array_of_npy(npy(text.ljust(4096), bytes(4), version)).shape == (2, 2)
    with pytest.raises(MalformedPickle, match="its header is longer than one can be"):
        array_of_npy(npy(text.ljust(4097), bytes(4), version))
    with pytest.raises(MalformedPickle, match="its header is longer"):
        array_of_npy(npy(text, b"", version)[:-1])
    assert array_of_npy(npy(header(shape=(0, 2)), b"", version)).shape == (0, 2)


@pytest.mark.parametrize(
    "data", [b"", b"\x93NUMPZ\1\0" + bytes(9), b"\x93NUMPX\1\0" + bytes(9), b"\x93NUMPY\1\0\0\0\0"]
)
def test_beginnings_of_other_files(data: bytes) -> None:
    with pytest.raises(MalformedPickle, match="does not begin like"):
        array_of_npy(data)


@pytest.mark.parametrize(
    "text", ["[1]", "{", header(more=1), "{'descr': '|u1', 'shape': (2, 2)}", "{[]: 1}"]
)
def test_headers_that_are_damaged(text: str) -> None:
    with pytest.raises(MalformedPickle, match="its header is damaged"):
        array_of_npy(npy(text, bytes(9)))


@pytest.mark.parametrize(
    ("descr", "known"),
    [("<f4", "float32"), ("<f2", "float16"), ("<i8", "int64"), ("|b1", "bool"),
     ("<c8", "complex64"), ("<c16", "complex128"), ("<u4", "uint32"), ("|O", "no numbers"),
     ("<U3", "no numbers"),
     ([("a", "u1")], "no numbers"), ("<f16", "no numbers"), ("", "no numbers")],
)  # fmt: skip
def test_numbers_that_are_no_pixels_are_named(descr: object, known: str) -> None:
    with pytest.raises(NotPixels) as refused:
        array_of_npy(npy(header(descr, (2, 3)), bytes(9)))
    assert str(refused.value) == f"{known} [2, 3]"


@pytest.mark.parametrize(
    ("descr", "right"),
    [("|u1", True), ("<u1", True), (">u1", True), ("=u1", False), ("<u2", True), (">u2", True),
     ("|u2", False), ("=u2", False)],
)  # fmt: skip
def test_byte_orders(descr: str, right: bool) -> None:
    data = npy(header(descr), bytes([0, 1, 0, 2, 0, 3, 0, 4])[: 4 * int(descr[-1])])
    if not right:
        with pytest.raises(MalformedPickle, match="byte order is none"):
            array_of_npy(data)
        return
    found = array_of_npy(data)
    assert found.dtype == np.dtype(descr[1:])
    expected = {"|u1": 0, "<u1": 0, ">u1": 0, "<u2": 256, ">u2": 1}[descr]
    assert found[0, 0] == expected


def test_fortran_s_order_and_dimensions() -> None:
    text = header().replace("False", "True")
    assert array_of_npy(npy(text, b"\1\2\3\4")).tolist() == [[1, 3], [2, 4]]
    assert array_of_npy(npy(text.replace("True", "1"), b"\1\2\3\4")).tolist() == [[1, 2], [3, 4]]
    assert array_of_npy(npy(header(shape=(1, 1, 1, 1)), b"\1")).ndim == 4
    with pytest.raises(NotPixels, match="an array of 5 dimensions"):
        array_of_npy(npy(header(shape=(1, 1, 1, 1, 1)), b"\1"))
    for length in (3, 5):
        with pytest.raises(MalformedPickle, match="does not fit the bytes that are there"):
            array_of_npy(npy(header(), bytes(length)))


NUMPY = "numpy._core"


def dtype(code: object = "u1", order: object = "|", **changes: object) -> Record:
    given = changes.get("given", (3, order, None, None, None, -1, -1, 0))
    record = Record(Global("numpy", "dtype"), (code, False, True))
    record.given = given
    return record


def reconstructed(*parts: object, kind: object = Global("numpy", "ndarray")) -> Record:
    record = Record(Global(f"{NUMPY}.multiarray", "_reconstruct"), (kind, (0,), b"b"))
    record.given = parts or (1, (2, 2), dtype(), False, b"\1\2\3\4")
    return record


def buffer(*args: object) -> Record:
    return Record(Global(f"{NUMPY}.numeric", "_frombuffer"), args)


def array(value: object, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    class Loaded:
        def __init__(self) -> None:
            self.value = value

    monkeypatch.setattr(module, "load", lambda stream: Loaded())
    return array_of_pickle(b"")


PLAIN, TURNED = [[1, 2], [3, 4]], [[1, 3], [2, 4]]
FOUR = b"\1\2\3\4"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (reconstructed(), PLAIN),
        (reconstructed(1, (2, 2), dtype(), True, FOUR), TURNED),
        (reconstructed(1, (2, 2), dtype(), 1, FOUR), TURNED),
        (reconstructed(1, (2, 2), dtype(), 2, FOUR), PLAIN),
        (reconstructed(1, (2, 2), dtype(b"u1", b"|"), 0, bytearray(FOUR)), PLAIN),
        (reconstructed(1, (2, 2), dtype(), False, "\1\2\3\4"), PLAIN),
        (reconstructed(kind=Global("imageio.core.util", "Array")), PLAIN),
        (buffer(FOUR, dtype(), (2, 2), "C"), PLAIN),
        (buffer(FOUR, dtype(), (2, 2), "F"), TURNED),
        (buffer(FOUR, dtype(), (2, 2), "K", (1, 0)), TURNED),
        (buffer(FOUR, dtype(), (2, 2), "C", (1, 0)), PLAIN),
        (buffer(FOUR, dtype(), (2, 2), "K", None), PLAIN),
        (buffer(FOUR, dtype(), (2, 2), "Z", (1, 0)), PLAIN),
        (reconstructed(1, (2, 2), dtype(given=(3, "|", None, None, None, -1, -1, 0, {})), False,
                       FOUR), PLAIN),
    ],
)  # fmt: skip
def test_arrays_in_pickles(record: Record, expected: list, monkeypatch: pytest.MonkeyPatch) -> None:
    assert array(record, monkeypatch).tolist() == expected


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (3, "no array"),
        (Record(Global("os", "system"), ()), "it wants os.system called"),
        (Record(Record(Global("a", "b"), ()), ()), "it wants a nested object called"),
        (reconstructed(kind=Global("numpy", "matrix")), "it wants numpy.matrix built"),
        (reconstructed(kind=3), "it wants a nested object built"),
        (Record(Global(f"{NUMPY}.multiarray", "_reconstruct"), ()), "a nested object built"),
        (reconstructed(1, (2, 2), dtype(), False), "description is damaged"),
        (reconstructed(1, (2, 2), dtype(), False, FOUR, 0), "description is damaged"),
        (reconstructed(1, (2, 2), None, False, FOUR), "has no number type"),
        (reconstructed(1, (2, 2), Record(Global("numpy", "dtype"), ()), False, FOUR),
         "has no number type"),
        (reconstructed(1, (2, 2), Record(Global("a", "dtype"), ("u1",)), False, FOUR),
         "has no number type"),
        (reconstructed(1, (2, 2), dtype(given=None), False, FOUR), "an array of records"),
        (reconstructed(1, (2, 2), dtype(given=(3, "|", None, None, None, -1, -1)), False, FOUR),
         "an array of records"),
        (reconstructed(1, (2, 2), dtype(given=(3, "|", *[None] * 3, -1, -1, 0, {}, 1)), False,
                       FOUR),
         "an array of records"),
        *((reconstructed(1, (2, 2), dtype(given=tuple({at: "x"}.get(n, v) for n, v in enumerate(
            (3, "|", None, None, None, -1, -1, 0)))), False, FOUR), "an array of records")
          for at in (2, 3, 4)),
        (reconstructed(1, (2, 2), dtype(), False, None), "numbers are no bytes"),
        (reconstructed(1, (2, 2), dtype(3), False, FOUR), r"no numbers \[2, 2\]"),
        (buffer(FOUR, dtype(), (2, 2)), "description is damaged"),
        (buffer(FOUR, dtype(), (2, 2), "K", None, 1), "description is damaged"),
        (buffer(FOUR, dtype(), (2, 2), "K", (1, 1)), "order of axes is none"),
        (buffer(FOUR, dtype(), (2, 2), "K", (0,)), "order of axes is none"),
    ],
)  # fmt: skip
def test_pickles_that_are_refused(
    record: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=told):
        array(record, monkeypatch)


@pytest.mark.parametrize(
    ("args", "right"),
    [(("\1\2\3\4", "latin1"), True), (("\1\2\3\4", "latin-1"), True),
     (("\1\2\3\4", "utf-8"), False),     (("\1\2\3\4",), False), ((FOUR, "latin1", 3), False)],
)  # fmt: skip
def test_bytes_as_protocol_2_writes_them(
    args: tuple, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Record(Global("_codecs", "encode"), args)
    record = reconstructed(1, (2, 2), dtype(), False, content)
    if right:
        assert array(record, monkeypatch).tolist() == PLAIN
    else:
        with pytest.raises(MalformedPickle, match="numbers are no bytes"):
            array(record, monkeypatch)


def test_what_a_file_holds_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(pickle.dumps([1]))
    with pytest.raises(UserError, match=r"a\.pt' holds no array; an image is"):
        read_decoded(tmp_path / "a.pt")
    (tmp_path / "a.pt").write_bytes(b"x")
    with pytest.raises(UserError, match=r"a\.pt' cannot be read as an array of pixels \("):
        read_decoded(tmp_path / "a.pt")
