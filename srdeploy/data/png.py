"""PNG files written row by row, with 8 or 16 bits to a channel.

Pillow writes neither: it wants the whole picture, and knows no 16-bit colours. The format is
ISO/IEC 15948 (PNG, third edition); sections in brackets.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels [11.2.1]
_ROWS_AT_ONCE = 32  # filtered together, if they are few enough bytes to stay in the CPU's cache
_BYTES_AT_ONCE = 1 << 18


class PngWriter:
    """A PNG file in the making: :meth:`write` rows from top to bottom, then :meth:`finish`."""

    def __init__(
        self,
        stream: BinaryIO,
        size: tuple[int, int],
        channels: int,
        dtype: type | np.dtype,
        *,
        icc: bytes | None = None,
        exif: bytes | None = None,
        level: int = 6,
    ) -> None:
        """Write the header.

        Args:
            stream: Where to.
            size: Height and width.
            channels: 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha).
            dtype: ``uint8`` or ``uint16``.
            icc: Colour profile.
            exif: EXIF block, with or without its ``Exif`` mark.
            level: Of zlib.
        """
        self._stream, self._missing = stream, size[0]
        self._depth = np.dtype(dtype).itemsize
        self._pixel = channels * self._depth  # bytes
        self._above = np.zeros(size[1] * self._pixel, np.uint8)
        self._packer = zlib.compressobj(level, strategy=zlib.Z_FILTERED)
        stream.write(b"\x89PNG\r\n\x1a\n")
        header = struct.pack(
            ">IIBBBBB", size[1], size[0], 8 * self._depth, _COLOUR_TYPES[channels], 0, 0, 0
        )
        self._chunk(b"IHDR", header)
        if icc is not None:
            self._chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
        if exif is not None:
            self._chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))

    def write(self, rows: NDArray) -> None:
        """Append ``[n, W, C]`` of the promised width, channels and type."""
        step = min(_ROWS_AT_ONCE, max(1, _BYTES_AT_ONCE // len(self._above)))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            big_endian = np.ascontiguousarray(block, dtype=block.dtype.newbyteorder(">"))
            flat = big_endian.view(np.uint8).reshape(len(block), -1)
            self._data(self._packer.compress(self._filtered(flat)))
            self._above = flat[-1]
        self._missing -= len(rows)

    def finish(self) -> None:
        """Write the end.

        Raises:
            ValueError: rows are missing, or there were too many.
        """
        if self._missing:
            raise ValueError(f"{self._missing} rows are missing from the picture")
        self._data(self._packer.flush())
        self._chunk(b"IEND", b"")

    def _filtered(self, rows: NDArray[np.uint8]) -> bytes:
        """Each row as the filter leaves it that makes its bytes smallest [9.2, 12.7]."""
        above = np.concatenate([self._above[None], rows[:-1]])
        left, corner = np.zeros_like(rows), np.zeros_like(rows)
        left[:, self._pixel :] = rows[:, : -self._pixel]
        corner[:, self._pixel :] = above[:, : -self._pixel]
        mean = ((left.astype(np.uint16) + above) >> 1).astype(np.uint8)
        candidates = np.stack(
            [rows, rows - left, rows - above, rows - mean, rows - _paeth(left, above, corner)]
        )
        # Differences are signed bytes: 255 is as good as 1.
        cost = np.minimum(candidates, -candidates).sum(axis=2, dtype=np.int64)
        best = cost.argmin(axis=0).astype(np.uint8)
        chosen = candidates[best, np.arange(len(rows))]
        return np.concatenate([best[:, None], chosen], axis=1).tobytes()

    def _data(self, packed: bytes) -> None:
        if packed:
            self._chunk(b"IDAT", packed)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._stream.write(struct.pack(">I", len(data)) + kind + data)
        self._stream.write(struct.pack(">I", zlib.crc32(kind + data)))


def _paeth(
    left: NDArray[np.uint8], above: NDArray[np.uint8], corner: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Whichever neighbour is nearest to left + above - corner [9.4]."""
    a, b, c = (x.astype(np.int16) for x in (left, above, corner))
    to_left, to_above = np.abs(b - c), np.abs(a - c)
    to_corner = np.abs(a + b - 2 * c)
    use_left = (to_left <= to_above) & (to_left <= to_corner)
    return np.where(use_left, left, np.where(to_above <= to_corner, above, corner))
