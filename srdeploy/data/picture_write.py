"""Pictures to files: PNG row by row, the other formats at the end; whole or not at all."""

from __future__ import annotations

import io
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from srdeploy.data.picture import Picture
from srdeploy.data.png import PngWriter
from srdeploy.errors import UserError, unknown_name
from srdeploy.util.files import atomic_path


@dataclass(frozen=True)
class Format:
    """A file format for results.

    Attributes:
        name: What ``--format`` takes.
        suffixes: Its file endings, the usual one first.
        sixteen_bits: It can hold 16 bits to a channel.
        alpha: It can hold transparency.
        largest: Longest side in pixels.
        streamed: Rows go to the file as they come; the others are held in memory to the end.
        encoder: Bytes per pixel that encoding takes then, beside the pixels (measured, on noise).
    """

    name: str
    suffixes: tuple[str, ...]
    sixteen_bits: bool
    alpha: bool
    largest: int
    streamed: bool = False
    encoder: int = 0

    def held(self, size: tuple[int, int], channels: int, dtype: type | np.dtype) -> int:
        """Bytes of memory that a picture of this height and width takes until it is written."""
        pixel = channels * np.dtype(dtype).itemsize + self.encoder
        return 0 if self.streamed else size[0] * size[1] * pixel


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("png", (".png",), True, True, 2**31 - 1, streamed=True),
        Format("jpeg", (".jpg", ".jpeg"), False, False, 65500, encoder=8),
        Format("webp", (".webp",), False, True, 16383, encoder=46),
        Format("tiff", (".tif", ".tiff"), True, True, 2**31 - 1, encoder=11),
    )
}


def find_format(name: str) -> Format:
    """The format of that name (or file ending).

    Raises:
        UserError: there is none; the nearest is offered.
    """
    wanted = name.lower().removeprefix(".")
    for row in FORMATS.values():
        if wanted == row.name or f".{wanted}" in row.suffixes:
            return row
    raise unknown_name("image format", name, FORMATS)


def format_of(path: str | Path) -> Format | None:
    """The format that a file's ending names, or None."""
    suffix = Path(path).suffix.lower()
    return next((row for row in FORMATS.values() if suffix in row.suffixes), None)


class PictureWriter(ABC):
    """Takes a picture from top to bottom."""

    @abstractmethod
    def write(self, rows: NDArray) -> None:
        """Append ``[n, W, C]``."""


@contextmanager
def open_writer(
    path: str | Path,
    kind: Format,
    size: tuple[int, int],
    channels: int,
    dtype: type | np.dtype,
    *,
    icc: bytes | None = None,
    exif: bytes | None = None,
    quality: int = 95,
) -> Iterator[PictureWriter]:
    """A file that is written while the body runs, and gets its name when the body has ended well.

    Args:
        path: Where to.
        kind: From :data:`FORMATS`.
        size: Height and width.
        channels: 1 to 4, as :class:`srdeploy.data.picture.Picture`; no alpha where the format has
            none.
        dtype: ``uint8``, or ``uint16`` where the format has 16 bits.
        icc: Colour profile.
        exif: EXIF block.
        quality: 1 to 100, for JPEG and WebP (100: WebP is lossless).

    Raises:
        UserError: the path cannot be written to, or the picture, its profile or its EXIF is too
            large for the format.
        ValueError: channels or a type that the format cannot hold.
    """
    if max(size) > kind.largest:
        raise UserError(
            f"'{path}' would have {size[1]}x{size[0]} pixels, and {kind.name} ends at "
            f"{kind.largest} a side; choose --format png."
        )
    if (channels in (2, 4) and not kind.alpha) or (dtype == np.uint16 and not kind.sixteen_bits):
        raise ValueError(f"{kind.name} cannot hold {channels} channels of {np.dtype(dtype)}")
    with atomic_path(path) as temporary:
        if kind.streamed:
            with open(temporary, "wb") as stream:
                writer = _Rows(PngWriter(stream, size, channels, dtype, icc=icc, exif=exif))
                yield writer
                writer.png.finish()
            return
        whole = _Whole(size, channels, dtype)
        yield whole
        try:
            if dtype == np.uint16:
                _save_wide_tiff(temporary, whole.pixels, icc)
            else:
                _save(temporary, kind, whole.pixels, icc, exif, quality)
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            # Pixels fit, which was seen above; profiles and EXIF may be of any size and make.
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(
                f"'{path}' cannot be written: {kind.name} does not hold the picture's profile or "
                f"EXIF ({reason}); choose --format png."
            ) from error


def write_picture(path: str | Path, picture: Picture, quality: int = 95) -> None:
    """Write a picture in the format that the ending names.

    Raises:
        UserError: an ending of no format, a picture that the format cannot hold, or a path that
            cannot be written to.
    """
    kind = format_of(path)
    if kind is None:
        endings = ", ".join(suffix for row in FORMATS.values() for suffix in row.suffixes)
        raise UserError(f"'{path}' names no image format by its ending; choose from {endings}.")
    pixels = picture.pixels
    if picture.alpha is not None and not kind.alpha:
        raise UserError(f"'{path}': {kind.name} has no alpha; choose .png, or leave alpha out.")
    if pixels.dtype == np.uint16 and not kind.sixteen_bits:
        raise UserError(f"'{path}': {kind.name} has 8 bits; choose .png, or round to 8 bits.")
    with open_writer(
        path,
        kind,
        picture.size,
        pixels.shape[2],
        pixels.dtype,
        icc=picture.icc,
        exif=picture.exif,
        quality=quality,
    ) as writer:
        writer.write(pixels)


class _Rows(PictureWriter):
    def __init__(self, png: PngWriter) -> None:
        self.png = png

    def write(self, rows: NDArray) -> None:
        self.png.write(rows)


class _Whole(PictureWriter):
    def __init__(self, size: tuple[int, int], channels: int, dtype: type | np.dtype) -> None:
        self.pixels = np.empty((*size, channels), dtype)
        self._next = 0

    def write(self, rows: NDArray) -> None:
        self.pixels[self._next : self._next + len(rows)] = rows
        self._next += len(rows)


def _save(
    path: Path, kind: Format, pixels: NDArray, icc: bytes | None, exif: bytes | None, quality: int
) -> None:
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    options: dict[str, object] = {"icc_profile": icc} if icc else {}
    if exif:
        options["exif"] = exif
    if kind.name == "jpeg":
        options |= {"quality": quality, "subsampling": 0}
    elif kind.name == "webp":
        image = image.convert("RGBA" if pixels.shape[2] in (2, 4) else "RGB")
        options |= {"quality": quality, "lossless": quality == 100, "exact": True}
    elif kind.name == "tiff" and not _has_details(exif):
        options["compression"] = "tiff_adobe_deflate"
    # Encoded first: some of Pillow's encoders do not say why a file could not be written.
    encoded = io.BytesIO()
    image.save(encoded, format=kind.name.upper(), **options)
    path.write_bytes(encoded.getbuffer())


def _has_details(exif: bytes | None) -> bool:
    """Whether a block has tables of its own (exposure, place), which Pillow cannot write into a
    compressed TIFF.
    """
    block = Image.Exif()
    block.load(exif or b"")
    return any(table in block for table in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo))


def _save_wide_tiff(path: Path, pixels: NDArray[np.uint16], icc: bytes | None) -> None:
    if find_spec("tifffile") is None:
        raise UserError(
            f"Writing '{path.suffix}' with 16 bits needs tifffile; install it with "
            "`pip install 'srdeploy[tiff]'`, or choose --format png."
        )
    import tifffile

    channels = pixels.shape[2]
    tifffile.imwrite(
        path,
        pixels[..., 0] if channels == 1 else pixels,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        compression="zlib",
        iccprofile=icc,
        metadata=None,
    )
