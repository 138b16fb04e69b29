"""Images kept as arrays: the ``sep`` caches of EDSR-PyTorch and its descendants.

Older ones are ``.npy`` files, newer ones pickles named ``.pt``. Neither is trusted: see
:mod:`srdeploy.data.array_bytes`.
"""

from __future__ import annotations

from pathlib import Path

from numpy.typing import NDArray

from srdeploy.data.array_bytes import NotPixels, array_of_npy, array_of_pickle
from srdeploy.errors import UserError

DECODED = (".npy", ".pt")

_MAX_BYTES = 256 << 20
"""Longest file that is read: 9,000 x 9,000 pixels of 3 bytes."""


def read_decoded(path: str | Path) -> NDArray:
    """An image from an array file: ``uint8`` or ``uint16``, ``[H, W, C]`` with C from 1 to 4.

    Raises:
        UserError: the file is missing or damaged, or holds no such array.
    """
    path = Path(path)
    data = _content(path)
    try:
        array = array_of_npy(data) if path.suffix.lower() == ".npy" else array_of_pickle(data)
    except NotPixels as found:
        raise _no_image(path, str(found)) from None
    except ValueError as error:
        raise UserError(
            f"'{path}' cannot be read as an array of pixels ({error}); replace or remove the file."
        ) from error
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or 0 in array.shape:
        raise _no_image(path, f"{array.dtype} {list(array.shape)}")
    return array


def _no_image(path: Path, found: str) -> UserError:
    return UserError(
        f"'{path}' holds {found}; an image is uint8 or uint16, [H, W] or [H, W, 1 to 4]."
    )


def _content(path: Path) -> bytes:
    """The whole file, where it is one and of a sensible length (a pipe or device never ends)."""
    if not path.exists():
        raise UserError(f"There is no image '{path}'.")
    if not path.is_file():
        raise UserError(f"'{path}' is no file; give an image.")
    if (length := path.stat().st_size) > _MAX_BYTES:
        raise UserError(
            f"'{path}' is longer than {_MAX_BYTES >> 20} MB, too long for an array of pixels; "
            "save the picture as PNG."
        )
    try:
        with open(path, "rb") as stream:
            return stream.read(length)
    except OSError as error:
        raise UserError(f"Cannot read '{path}' ({error.strerror}).") from error
