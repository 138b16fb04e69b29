"""Pictures as people have them: grey or colour, 8 or 16 bits, transparent, rotated, profiled."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile

from srdeploy.data.decoded import DECODED, read_decoded
from srdeploy.data.images import upright
from srdeploy.data.opening import decoding, is_wide, opened, raw_mode
from srdeploy.errors import UserError

_TAGS = ExifTags.Base
# What says something about the picture, not about how a TIFF file stores it.
_KEPT_TAGS = {
    *(_TAGS.ImageDescription, _TAGS.Make, _TAGS.Model, _TAGS.Orientation, _TAGS.Software),
    *(_TAGS.XResolution, _TAGS.YResolution, _TAGS.ResolutionUnit, _TAGS.DateTime, _TAGS.Artist),
    *(_TAGS.Copyright, _TAGS.ExifOffset, _TAGS.GPSInfo),
}


@dataclass(frozen=True)
class Picture:
    """An upright picture with what belongs to it.

    Attributes:
        pixels: ``[H, W, C]``, ``uint8`` or ``uint16``; C is 1 (grey), 2 (grey, alpha), 3 (RGB) or
            4 (RGB, alpha). Alpha is straight: colours are not multiplied by it.
        icc: Colour profile, or None.
        exif: EXIF block (its orientation is 1: the pixels are upright), or None.
        notes: What reading changed, in sentences for people.
    """

    pixels: NDArray
    icc: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def alpha(self) -> NDArray | None:
        """Alpha ``[H, W]``, or None."""
        return self.pixels[..., -1] if self.pixels.shape[2] in (2, 4) else None

    @property
    def colour(self) -> NDArray:
        """Grey or RGB, ``[H, W, 1 or 3]``, without alpha."""
        return self.pixels[..., : 1 if self.pixels.shape[2] < 3 else 3]


def read_picture(path: str | Path, room: float | None = None) -> Picture:
    """Read any image file, losing nothing that a network can use.

    16 bits stay 16 bits, palettes are looked up, a transparent colour becomes alpha, CMYK becomes
    sRGB (through its profile if it has one), and the EXIF orientation is applied.

    Args:
        path: The file.
        room: Bytes of memory that reading may take; default: what is free.

    Raises:
        UserError: the file is missing, not an image, truncated, takes more memory than that, or
            holds numbers that are no levels between black and white.
    """
    path = Path(path)
    if path.suffix.lower() in DECODED:
        with decoding(path, room):
            return Picture(read_decoded(path))
    with opened(path, room) as image:
        notes = ["the first of several frames is taken"] if _has_frames(image) else []
        wide = _wide_colour(path, image) if is_wide(image) else None
        if wide is None:
            image.load()
        icc = image.info.get("icc_profile")
        turned = upright(image) if wide is None else image
        exif = _exif(image)  # changes what it reads, so after turning
        if wide is not None:
            return Picture(wide, icc, exif, tuple(notes))
        if turned.mode == "CMYK":
            turned, icc = _srgb(turned, icc), None
            notes.append("CMYK is converted to sRGB")
        return Picture(_pixels(turned, path), icc, exif, tuple(notes))


def _has_frames(image: Image.Image) -> bool:
    """Whether there are others, which may be many: they are not counted."""
    return bool(getattr(image, "is_animated", False))


def _pixels(image: Image.Image, path: Path) -> NDArray:
    if image.mode == "F":
        raise UserError(
            f"'{path}' holds floating-point pixels, whose range is unknown; "
            "save it with 8 or 16 bits."
        )
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
            raise UserError(f"'{path}' holds 32-bit numbers; save it with 8 or 16 bits.")
        return values.astype(np.uint16)[..., None]
    transparent = "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    grey = image.mode in ("1", "L", "LA", "La")
    kinds = {(True, False): "L", (True, True): "LA", (False, False): "RGB", (False, True): "RGBA"}
    kind = kinds[grey, transparent]
    pixels = np.asarray(image if image.mode == kind else image.convert(kind))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _wide_colour(path: Path, image: ImageFile.ImageFile) -> NDArray[np.uint16] | None:
    """Colours of 16 bits, of which Pillow alone keeps the upper 8; None for storage not known.

    Pillow has no such pixels, but can be told the other byte order, and then keeps the lower 8.
    """
    raw = raw_mode(image)
    if raw not in _LOWER_BYTES:
        return None
    lower = _decoded_as(path, image, _LOWER_BYTES[raw])
    if lower is None:
        return None
    if raw == "LA;16B":  # four bytes to a pixel, which arrive as they are
        return _joined(lower[..., 0::2], lower[..., 1::2])
    image.load()
    return _joined(np.asarray(upright(image)), lower)


def _decoded_as(path: Path, image: ImageFile.ImageFile, raw: str) -> NDArray | None:
    """The same file decoded with another raw mode; None if it then has other pieces."""
    with Image.open(path, formats=[image.format or ""]) as other:
        if len(other.tile) != len(image.tile):
            return None
        other.tile = [_with_raw(tile, raw) for tile in other.tile]
        other.load()
        return np.asarray(upright(other))


def _joined(upper: NDArray, lower: NDArray) -> NDArray[np.uint16]:
    wide = upper.astype(np.uint16)
    wide <<= 8
    wide |= lower
    return wide


_OTHER_ORDER = "B" if sys.byteorder == "little" else "L"
_LOWER_BYTES = {
    "LA;16B": "RGBA",
    **{
        f"{mode};16{order}": f"{mode};16{other}"
        for mode in ("RGB", "RGBA")
        for order, other in (("B", "L"), ("L", "B"), ("N", _OTHER_ORDER))
    },
}


def _with_raw(tile: Any, raw: str) -> Any:
    """A piece of Pillow's decoding plan with another raw mode."""
    arguments = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
    changed = (tile[0], tile[1], tile[2], arguments)
    return type(tile)(*changed) if hasattr(tile, "_fields") else changed


def _exif(image: Image.Image) -> bytes | None:
    exif = image.getexif()
    for tag in list(exif):
        if tag not in _KEPT_TAGS:
            del exif[tag]
    if not exif:
        return None
    if _TAGS.Orientation in exif:
        exif[_TAGS.Orientation] = 1
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for tag in (_TAGS.ExifImageWidth, _TAGS.ExifImageHeight):  # no longer true
        details.pop(tag, None)
    return exif.tobytes()


def _srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if icc is not None:
        try:
            changed = ImageCms.profileToProfile(
                image, BytesIO(icc), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if changed is not None:
                return changed
        except (ImageCms.PyCMSError, OSError):
            pass  # a damaged profile is no reason to refuse the picture
    return image.convert("RGB")
