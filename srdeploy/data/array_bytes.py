"""Arrays of pixels from the bytes of a ``.npy`` file or a pickle, every claim of theirs checked.

numpy's own readers trust the file: a pickled ``dtype`` may hold a state that makes the array
dereference what the file says, and a header may announce any shape. Here the type is one of two
(``uint8``, ``uint16``, either byte order), the shape is a few whole numbers, and their product is
exactly what is there. Pickles are of protocols 0 to 5, of Python 2 and 3, of numpy 1 and 2, and of
imageio's array, which is numpy's with a label.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srdeploy.pickles.inert import Global, MalformedPickle, Record, naturals
from srdeploy.pickles.machine import load

_MAX_HEADER = 4096
_MAX_DIMENSIONS = 4
_NAMES = re.compile(r"[fiu][1248]|b1|c8|c16")  # number types that numpy may be asked to name
_CLASSES = (Global("numpy", "ndarray"), Global("imageio.core.util", "Array"))
_RECONSTRUCT = [Global(f"{m}.multiarray", "_reconstruct") for m in ("numpy.core", "numpy._core")]
_FROM_BUFFER = [Global(f"{m}.numeric", "_frombuffer") for m in ("numpy.core", "numpy._core")]
_DTYPE = Global("numpy", "dtype")
_ENCODE = Global("_codecs", "encode")


class NotPixels(ValueError):
    """The file holds something else, in good order; the text says what."""


@dataclass(frozen=True)
class _Claim:
    """What a file says of its array.

    Attributes:
        code: Kind and bytes of a number, such as ``u1``.
        order: Byte order: ``<``, ``>``, or ``|`` for single bytes.
        shape: As the array is seen.
        layout: The order of its elements in the file: ``C`` or ``F``.
    """

    code: str
    order: str
    shape: tuple[int, ...]
    layout: Literal["C", "F"]

    def array(self, data: bytes | bytearray) -> NDArray:
        """The array, in memory of its own, C-contiguous and in this machine's byte order."""
        if self.code not in ("u1", "u2"):
            known = np.dtype(self.code).name if _NAMES.fullmatch(self.code) else "no numbers"
            raise NotPixels(f"{known} {list(self.shape)}")
        if len(self.shape) > _MAX_DIMENSIONS:
            raise NotPixels(f"an array of {len(self.shape)} dimensions")
        if self.order not in (("|", "<", ">") if self.code == "u1" else ("<", ">")):
            raise MalformedPickle("the array's byte order is none")
        stored = np.dtype(f"{self.order}{self.code}")
        if math.prod(self.shape) * stored.itemsize != len(data):
            raise MalformedPickle("the array's shape does not fit the bytes that are there")
        flat = np.frombuffer(data, stored).astype(stored.newbyteorder("="))
        return np.ascontiguousarray(flat.reshape(self.shape, order=self.layout))


def array_of_npy(data: bytes) -> NDArray:
    """The array in a ``.npy`` file of any version.

    Raises:
        NotPixels: it is of another type.
        ValueError: the file is damaged; the text says how.
    """
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise MalformedPickle("it does not begin like a .npy file")
    wide = data[6] > 1
    (length,) = struct.unpack_from("<I" if wide else "<H", data, 8)
    start = 12 if wide else 10
    if length > _MAX_HEADER or start + length > len(data):
        raise MalformedPickle("its header is longer than one can be")
    text = data[start : start + length].decode("latin-1")
    try:
        header = ast.literal_eval(re.sub(r"(\d)L\b", r"\1", text).strip())  # Python 2 wrote 480L
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        header = None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise MalformedPickle("its header is damaged")
    descr, shape = header["descr"], naturals(header["shape"], "the array's shape")
    order, code = (descr[:1], descr[1:]) if isinstance(descr, str) else ("", "")
    layout: Literal["C", "F"] = "F" if header["fortran_order"] is True else "C"
    return _Claim(code, order, shape, layout).array(data[start + length :])


def array_of_pickle(data: bytes) -> NDArray:
    """The array that a pickle holds; nothing in it runs.

    Raises:
        NotPixels: it holds no array, or one of another type.
        ValueError: the pickle is damaged, or wants something else called.
    """
    record = load(io.BytesIO(data)).value
    if not isinstance(record, Record):
        raise NotPixels("no array")
    if record.target in _RECONSTRUCT:
        return _reconstructed(record)
    if record.target in _FROM_BUFFER:
        return _of_buffer(record)
    raise MalformedPickle(f"it wants {_named(record.target)} called")


def _named(target: object) -> str:
    return str(target) if isinstance(target, Global) else "a nested object"


def _reconstructed(record: Record) -> NDArray:
    """``_reconstruct(class, (0,), b'b')``, filled by (version, shape, dtype, Fortran, bytes)."""
    kind = record.args[0] if record.args else None
    if kind not in _CLASSES:
        raise MalformedPickle(f"it wants {_named(kind)} built")
    if not isinstance(record.given, tuple) or len(record.given) != 5:
        raise MalformedPickle("the array's description is damaged")
    _, shape, dtype, fortran, content = record.given
    return _claim(dtype, shape, "F" if fortran in (True, 1) else "C").array(_bytes(content))


def _of_buffer(record: Record) -> NDArray:
    """``_frombuffer(bytes, dtype, shape, order)``, in numpy 2 with a last argument for axes."""
    if len(record.args) not in (4, 5):
        raise MalformedPickle("the array's description is damaged")
    content, dtype, shape, order = record.args[:4]
    claim = _claim(dtype, shape, "F" if order == "F" else "C")
    array = claim.array(_bytes(content))
    axes = record.args[4] if len(record.args) == 5 and order == "K" else None
    if axes is None:
        return array
    axes = naturals(axes, "the array's order of axes")
    if sorted(axes) != list(range(array.ndim)):
        raise MalformedPickle("the array's order of axes is none")
    return np.ascontiguousarray(array.transpose(axes))


def _claim(dtype: object, shape: object, layout: Literal["C", "F"]) -> _Claim:
    """``dtype(code, False, True)`` with (version, order, None, None, None, -1, -1, flags)."""
    if not isinstance(dtype, Record) or dtype.target != _DTYPE or not dtype.args:
        raise MalformedPickle("the array has no number type")
    code, given = _text(dtype.args[0]), dtype.given
    if not isinstance(given, tuple) or len(given) not in (8, 9) or given[2:5] != (None,) * 3:
        raise NotPixels("an array of records")
    return _Claim(code, _text(given[1]), naturals(shape, "the array's shape"), layout)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if isinstance(value, str) else ""


def _bytes(value: object) -> bytes | bytearray:
    """The numbers: bytes, or text that stands for them one to one."""
    if isinstance(value, Record) and value.target == _ENCODE:  # how protocol 2 writes bytes
        parts: Sequence[object] = value.args
        value = parts[0] if len(parts) == 2 and _text(parts[1]) in ("latin1", "latin-1") else None
    if isinstance(value, str):  # Python 2's own bytes
        value = value.encode("latin-1")
    if not isinstance(value, bytes | bytearray):
        raise MalformedPickle("the array's numbers are no bytes")
    return value
