"""Image files opened: which formats, how much memory decoding takes, and errors in one sentence.

A file of a kilobyte can promise gigapixels, so its header is asked before anything is decoded.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, UnidentifiedImageError

from srdeploy.errors import SrdeployError, UserError
from srdeploy.util.files import require_file
from srdeploy.util.memory import available

_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI"),
    *("TGA", "TIFF", "WEBP"),
)
"""Of Pillow's, those that hold pixels: others start programs (EPS) or read past all bounds."""

_DECODER = {"AVIF": 6, "JPEG2000": 10, "WEBP": 12}
"""Bytes per pixel that decoders hold beside the picture; these have the file in memory, too."""


@contextmanager
def opened(path: Path, room: float | None = None) -> Iterator[ImageFile.ImageFile]:
    """An image file whose header was read; what goes wrong in the body is one sentence, too.

    Args:
        path: The file.
        room: Bytes of memory that decoding may take; default: what is free.

    Raises:
        UserError: the file is missing, no regular file, not an image, truncated, or too large.
    """
    with decoding(path, room) as room:
        _check_parts(path)
        Image.init()
        formats = [name for name in _FORMATS if name in Image.OPEN]
        with warnings.catch_warnings():
            # Pillow warns at 89 megapixels; its refusal at twice that stays.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                needed = bytes_to_read(image, path)
                if room is not None and needed > room:
                    raise _too_large(path, f" of {image.width}x{image.height} pixels", needed, room)
                if image.format == "PNG" and _least_bytes(image) > os.stat(path).st_size:
                    raise UserError(
                        f"'{path}' is too small a file for its {image.width}x{image.height} "
                        "pixels, so it is truncated or damaged; replace or remove the file."
                    )
                yield image


@contextmanager
def decoding(path: Path, room: float | None = None) -> Iterator[float | None]:
    """While a file is decoded: what goes wrong becomes one sentence.

    Yields:
        The memory that may be taken, as given or found out; None where unknown.

    Raises:
        UserError: the file is missing, no regular file, not an image, truncated, or too large.
    """
    size = require_file(path, "image").st_size
    room = available() if room is None else room
    if room is not None and size > room:
        raise _too_large(path, "", size, room)
    try:
        yield room
    except (SrdeployError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"'{path}' is too large to be read as one image; crop it first.") from error
    except Exception as error:  # decoders meet damage in every way there is
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        reason = " ".join(text.split()).rstrip(".") or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no image format recognises it"
        raise UserError(
            f"'{path}' cannot be read as an image ({reason}); replace or remove the file."
        ) from error


def bytes_to_read(image: ImageFile.ImageFile, path: Path) -> float:
    """The most memory that decoding this picture and turning it into an array takes, in bytes.

    Args:
        image: Opened, not loaded.
        path: Its file.
    """
    bands = len(image.getbands())
    if is_wide(image):
        per_pixel = 10 + 4 * bands  # an image of Pillow's and both halves of the values
    elif image.mode.startswith("I;16"):
        per_pixel = 10
    elif image.mode in ("1", "L"):
        per_pixel = 12
    else:
        array = 4 if image.mode in ("I", "F", "P") else max(3, bands)
        per_pixel = 8 + 2 * array  # turned or converted, and the array in pieces
    per_pixel += _DECODER.get(image.format or "", 0)
    own = os.stat(path).st_size if image.format in _DECODER else 0
    return image.width * image.height * per_pixel * 1.05 + own + 2e6


_PARTS = 100_000
"""Parts of a PNG whose lengths are looked at; real ones have one for 8 KB and more of pixels."""


def _check_parts(path: Path) -> None:
    """That no part of a PNG claims to be longer than the file: its reader takes that memory first.

    Raises:
        UserError: one does.
    """
    size = os.stat(path).st_size
    with open(path, "rb") as stream:
        if stream.read(8) != b"\x89PNG\r\n\x1a\n":
            return
        for _ in range(_PARTS):
            if len(head := stream.read(8)) < 8:
                return
            length, kind = struct.unpack(">I4s", head)
            if stream.tell() + length > size:
                raise UserError(
                    f"'{path}' cannot be read as an image (truncated, or damaged: it says that it "
                    "goes on beyond its end); replace or remove the file."
                )
            if kind == b"IEND":
                return
            stream.seek(length + 4, os.SEEK_CUR)


_DEFLATE = 1032
"""Bytes that deflate makes of one at the most: a match of 258 for two bits."""


def _least_bytes(image: ImageFile.ImageFile) -> float:
    """What a whole PNG of this size takes at the least."""
    bits = 1 if image.mode in ("1", "L", "P") else 8 * len(image.getbands())
    return image.height * (1 + image.width * bits / 8) / _DEFLATE


def raw_mode(image: ImageFile.ImageFile) -> str:
    """How Pillow's decoder stores what it finds, ``RGB;16B`` for instance."""
    first = image.tile[0] if getattr(image, "tile", None) else None
    arguments: Any = first[3] if first else ""
    return arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""


def is_wide(image: ImageFile.ImageFile) -> bool:
    """Whether the colours have 16 bits, of which Pillow's pixels have room for 8."""
    return raw_mode(image).startswith(("LA;16", "RGB;16", "RGBA;16"))


def _too_large(path: Path, size: str, needed: float, room: float) -> UserError:
    return UserError(
        f"'{path}'{size} takes {needed / 1e9:.2g}GB to decode, and {max(room, 0) / 1e9:.2g}GB of "
        "memory are left for that; raise --memory, or crop it first."
    )
