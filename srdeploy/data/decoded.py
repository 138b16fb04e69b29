"""Images kept as arrays: the ``sep`` caches of EDSR-PyTorch and its descendants.

Older ones are ``.npy`` files, newer ones pickles named ``.pt``. A pickle can name any code to be
called, so only those that rebuild a numpy array are let through.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError

DECODED = (".npy", ".pt")


def read_decoded(path: str | Path) -> NDArray:
    """An image from an array file: ``uint8`` or ``uint16``, ``[H, W, C]`` with C from 1 to 4.

    Raises:
        UserError: the file is missing or damaged, or holds no such array.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            if path.suffix.lower() == ".npy":
                array: Any = np.load(stream, allow_pickle=False)
            else:
                array = _ArrayUnpickler(stream).load()
    except FileNotFoundError:
        raise UserError(f"There is no image '{path}'.") from None
    except Exception as error:  # a damaged pickle can raise anything
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"'{path}' cannot be read as an array of pixels ({reason}); replace or remove the file."
        ) from error
    if isinstance(array, np.ndarray) and array.ndim == 2:
        array = array[..., None]
    if (
        not isinstance(array, np.ndarray)
        or array.dtype not in (np.uint8, np.uint16)
        or array.ndim != 3
        or not 1 <= array.shape[2] <= 4
        or 0 in array.shape
    ):
        found = (
            f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else "no array"
        )
        raise UserError(
            f"'{path}' holds {found}; an image is uint8 or uint16, [H, W] or [H, W, 1 to 4]."
        )
    return array


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
        ):
            return _empty
        if (module, name) in (
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
        ):
            return _of_buffer
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        # imageio's reader returns an array of its own class, which is an ndarray with a label.
        if (module, name) in (("numpy", "ndarray"), ("imageio.core.util", "Array")):
            return np.ndarray
        if (module, name) == ("_codecs", "encode"):  # how Python 2 protocols write bytes
            return lambda text, encoding: text.encode(encoding)
        raise pickle.UnpicklingError(f"it wants {module}.{name} called")


def _empty(kind: type, shape: tuple[int, ...], dtype: bytes) -> NDArray:
    """What numpy's ``_reconstruct`` makes: an array that its state then fills."""
    return np.empty(0, "b")


def _of_buffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> NDArray:
    """What protocol 5 calls."""
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")
