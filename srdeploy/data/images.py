"""Image files to arrays and back, and the colour space in which super-resolution is measured."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from srdeploy.data.decoded import DECODED, read_decoded
from srdeploy.data.opening import decoding, opened
from srdeploy.errors import UserError
from srdeploy.util.files import atomic_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

_AT_ONCE = 1 << 16  # values that are rounded in one go

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
        UserError: the file is missing, not an image, truncated, holds floating-point pixels, or
            takes more memory than is free.
    """
    path = Path(path)
    if path.suffix.lower() in DECODED:
        with decoding(path):
            return _rgb_of(read_decoded(path))
    with opened(path) as image:
        image.load()
        turned = upright(image)
        if turned.mode == "F":
            raise UserError(
                f"'{path}' holds floating-point pixels, whose range is unknown; "
                "save it with 8 or 16 bits."
            )
        if turned.mode.startswith("I"):
            return _rgb_of(np.asarray(turned)[:, :, None])
        return np.array(turned if turned.mode == "RGB" else turned.convert("RGB"), dtype=np.uint8)


def upright(image: Image.Image) -> Image.Image:
    """A loaded image as its EXIF orientation wants it shown; itself where that is how it lies."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _rgb_of(pixels: NDArray) -> NDArray[np.uint8]:
    """``[H, W, 1..4]``, of 8 bits (``uint8``) or 16 (other integers), as RGB without alpha."""
    colour = pixels[..., : 1 if pixels.shape[2] < 3 else 3]
    colour = colour if colour.dtype == np.uint8 else eight_bits(colour)
    return np.repeat(colour, 3, axis=2) if colour.shape[2] == 1 else np.ascontiguousarray(colour)


def eight_bits(wide: NDArray) -> NDArray[np.uint8]:
    """Levels 0..65535 ``[H, W, C]`` rounded to 8 bits, without a large array in between."""
    found = np.empty(wide.shape, np.uint8)
    step = max(1, _AT_ONCE // (wide.shape[1] * wide.shape[2]))
    for top in range(0, len(wide), step):
        found[top : top + step] = to_uint8(wide[top : top + step] / 257.0)
    return found


def list_images(folder: str | Path) -> list[Path]:
    """The image files directly in a folder, in natural order (``img2`` before ``img10``).

    Decoded images (:mod:`srdeploy.data.decoded`) count where there are no others: caches lie
    beside what they were made from.

    Raises:
        UserError: the folder is missing, is not a folder, or holds no images.
    """
    folder = Path(folder)
    if not os.path.exists(folder):
        raise UserError(f"There is no folder '{folder}'; give one that holds images.")
    if not os.path.isdir(folder):
        raise UserError(f"'{folder}' is a file; give the folder that holds the images.")
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"The folder '{folder}' cannot be read ({error.strerror}).") from error
    # Links to nothing and pipes stay: to leave them out in silence would measure another set.
    files = [folder / n for n in names if not n.startswith(".") and not os.path.isdir(folder / n)]
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
