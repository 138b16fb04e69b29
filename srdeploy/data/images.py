"""Image files to arrays and back, and the colour space in which super-resolution is measured."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from srdeploy.data.decoded import DECODED, read_decoded
from srdeploy.errors import UserError
from srdeploy.files import atomic_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

# ITU-R BT.601, studio range, as MATLAB's rgb2ycbcr: rows Y, Cb, Cr for R, G, B in 0..255.
_YCBCR_FROM_RGB = (
    np.array(
        [
            [65.481, 128.553, 24.966],
            [-37.797, -74.203, 112.0],
            [112.0, -93.786, -18.214],
        ]
    )
    / 255.0
)
_RGB_FROM_YCBCR = np.linalg.inv(_YCBCR_FROM_RGB)
_YCBCR_OFFSET = np.array([16.0, 128.0, 128.0])


def read_rgb(path: str | Path) -> NDArray[np.uint8]:
    """Read any image file as RGB ``uint8 [H, W, 3]``, upright.

    Grey is repeated to three channels, palettes are looked up and CMYK is converted. 16-bit grey is
    scaled to 8 bits by rounding v / 257; of 16-bit colour Pillow keeps the high byte. Alpha is
    dropped, not blended: the stored colours are what a benchmark's other readers compare. The EXIF
    orientation is applied.

    Raises:
        UserError: the file is missing, not an image, truncated, or holds floating-point pixels.
    """
    path = Path(path)
    if path.suffix.lower() in DECODED:
        return _rgb_of(read_decoded(path))
    with decoding(path), Image.open(path) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "F":
            raise UserError(
                f"'{path}' holds floating-point pixels, whose range is unknown; "
                "save it with 8 or 16 bits."
            )
        if upright.mode.startswith("I"):
            return _rgb_of(np.asarray(upright, dtype=np.float64)[:, :, None] / 257.0)
        return np.array(upright.convert("RGB"), dtype=np.uint8)


def _rgb_of(pixels: NDArray) -> NDArray[np.uint8]:
    """``[H, W, 1..4]``, ``uint8``, ``uint16`` or levels 0..255, as RGB without alpha."""
    colour = pixels[..., : 1 if pixels.shape[2] < 3 else 3]
    if colour.dtype == np.uint16:
        colour = colour / 257.0
    colour = colour if colour.dtype == np.uint8 else to_uint8(colour)
    return np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else np.ascontiguousarray(colour)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """While a file is decoded: what goes wrong becomes one sentence.

    Raises:
        UserError: the file is missing, not an image, truncated, or too large.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"There is no image '{path}'.") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"'{path}' is too large to be read as one image; crop it first.") from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        if isinstance(error, UnidentifiedImageError):
            reason = "no image format recognises it"
        raise UserError(
            f"'{path}' cannot be read as an image ({reason}); replace or remove the file."
        ) from error


def list_images(folder: str | Path) -> list[Path]:
    """The image files directly in a folder, in natural order (``img2`` before ``img10``).

    Decoded images (:mod:`srdeploy.data.decoded`) count where there are no others: caches lie
    beside what they were made from.

    Raises:
        UserError: the folder is missing, is not a folder, or holds no images.
    """
    folder = Path(folder)
    if not folder.exists():
        raise UserError(f"There is no folder '{folder}'; give one that holds images.")
    if not folder.is_dir():
        raise UserError(f"'{folder}' is a file; give the folder that holds the images.")
    files = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()]
    images = [path for path in files if path.suffix.lower() in SUFFIXES]
    images = images or [path for path in files if path.suffix.lower() in DECODED]
    if not images:
        raise UserError(
            f"The folder '{folder}' holds no images ({' '.join((*SUFFIXES, *DECODED))})."
        )
    return sorted(images, key=_natural_key)


def _natural_key(path: Path) -> list[tuple[int, int, str]]:
    pieces = re.findall(r"\d+|\D+", path.name.lower())
    # The name itself breaks ties such as `a01` and `a1`.
    return [(0, int(p), p) if p.isdecimal() else (1, 0, p) for p in pieces] + [(1, 0, path.name)]


def write_png(path: str | Path, image: NDArray[np.uint8]) -> None:
    """Write ``uint8 [H, W, 3]`` or ``[H, W]`` as PNG, whole or not at all.

    Raises:
        UserError: the path cannot be written to.
        ValueError: the array is not an 8-bit grey or RGB image.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"write_png takes uint8 grey or RGB, got {image.dtype} {image.shape}")
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(image)).save(temporary, format="PNG", optimize=True)


def modcrop(image: NDArray, scale: int) -> NDArray:
    """Cut the bottom and right edges so that both sides are multiples of ``scale`` (a view).

    Raises:
        UserError: a side is smaller than ``scale``.
    """
    height, width = image.shape[:2]
    if min(height, width) < scale:
        raise UserError(f"An image of {width}x{height} pixels is too small for scale {scale}.")
    return image[: height - height % scale, : width - width % scale]


def to_uint8(image: NDArray) -> NDArray[np.uint8]:
    """Round (halves up, as MATLAB) and clip values in 0..255 to ``uint8``."""
    return np.clip(np.floor(np.asarray(image, np.float64) + 0.5), 0, 255).astype(np.uint8)


def rgb_to_y(image: NDArray) -> NDArray[np.float64]:
    """Luma of RGB ``[..., 3]`` in 0..255: ``float64 [...]`` in 16..235, as MATLAB, not rounded."""
    return image @ _YCBCR_FROM_RGB[0] + _YCBCR_OFFSET[0]


def rgb_to_ycbcr(image: NDArray) -> NDArray[np.float64]:
    """RGB ``[..., 3]`` in 0..255 to YCbCr ``float64 [..., 3]``: Y 16..235, Cb and Cr 16..240."""
    return _mixed(image, _YCBCR_FROM_RGB.T) + _YCBCR_OFFSET


def ycbcr_to_rgb(image: NDArray) -> NDArray[np.float64]:
    """The inverse of :func:`rgb_to_ycbcr`: ``float64 [..., 3]``, neither rounded nor clipped."""
    return _mixed(np.asarray(image, np.float64) - _YCBCR_OFFSET, _RGB_FROM_YCBCR.T)


def _mixed(image: NDArray, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """``image @ matrix`` of ``[..., 3]``, rounded alike in every place of an array.

    BLAS adds up the last rows of an array in another order, and a tile must equal its part of the
    whole.
    """
    first, second, third = (image[..., k, None] * matrix[k] for k in range(3))
    return first + second + third
