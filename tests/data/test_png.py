"""Our PNG against a reader written from the standard: chunks, filters and their choice."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest

from srdeploy.data import png
from srdeploy.data.png import PngWriter


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and body of each, their sums checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, place = [], 8
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (check,) = struct.unpack_from(">I", data, place + 8 + length)
        assert check == zlib.crc32(kind + body)
        found.append((kind, body))
        place += 12 + length
    return found


def written(pixels: np.ndarray, parts: int = 1, **options: object) -> list[tuple[bytes, bytes]]:
    stream = BytesIO()
    writer = PngWriter(stream, pixels.shape[:2], pixels.shape[2], pixels.dtype, **options)  # type: ignore[arg-type]
    for part in np.array_split(pixels, parts):
        writer.write(part)
    writer.finish()
    return chunks(stream.getvalue())


def paeth(a: int, b: int, c: int) -> int:
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def filtered(rows: list[bytes], pixel: int) -> list[bytes]:
    """Every row with each of the five filters, byte by byte; the smallest, the first of equals."""
    found, above = [], bytes(len(rows[0]))
    for row in rows:
        options = []
        for kind in range(5):
            line = []
            for i, x in enumerate(row):
                a = row[i - pixel] if i >= pixel else 0
                c = above[i - pixel] if i >= pixel else 0
                b = above[i]
                less = (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]
                line.append((x - less) % 256)
            cost = sum(min(v, 256 - v) for v in line)
            options.append((cost, kind, bytes([kind, *line])))
        found.append(min(options)[2])
        above = row
    return found


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_rows_are_filtered_as_the_standard_has_it(channels: int, dtype: type) -> None:
    random = np.random.default_rng(channels)
    top = np.iinfo(dtype).max
    y, x = np.mgrid[0:40, 0:9]
    pixels = np.repeat(((y * 5 + x * 9) * top // 300)[..., None], channels, 2).clip(0, top)
    pixels[::5] = random.integers(0, top, (8, 9, channels), endpoint=True)
    pixels[7:9, 3] = top
    pixels = pixels.astype(dtype)
    data = b"".join(body for kind, body in written(pixels, 3) if kind == b"IDAT")
    rows = [row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels]
    expected = filtered(rows, channels * pixels.itemsize)
    assert zlib.decompress(data) == b"".join(expected)
    assert len({row[0] for row in expected}) >= 3


@pytest.mark.parametrize(("channels", "colour"), [(1, 0), (2, 4), (3, 2), (4, 6)])
@pytest.mark.parametrize(("dtype", "depth"), [(np.uint8, 8), (np.uint16, 16)])
def test_header(channels: int, colour: int, dtype: type, depth: int) -> None:
    (kind, body), *_, (last, end) = written(np.zeros((5, 7, channels), dtype))
    assert kind == b"IHDR"
    assert struct.unpack(">IIBBBBB", body) == (7, 5, depth, colour, 0, 0, 0)
    assert (last, end) == (b"IEND", b"")


def test_what_goes_along() -> None:
    found = dict(written(np.zeros((2, 2, 1), np.uint8), icc=b"profile", exif=b"Exif\0\0block"))
    name, packed = found[b"iCCP"].split(b"\0", 1)
    assert name == b"ICC profile"
    assert packed[:1] == b"\0"  # deflate
    assert zlib.decompress(packed[1:]) == b"profile"
    assert found[b"eXIf"] == b"block"
    kinds = [kind for kind, _ in written(np.zeros((2, 2, 1), np.uint8), exif=b"block")]
    assert list(dict.fromkeys(kinds)) == [b"IHDR", b"eXIf", b"IDAT", b"IEND"]


def test_the_level_is_zlib_s() -> None:
    noise = np.random.default_rng(0).integers(0, 9, (60, 50, 3), np.uint8)

    def length(**options: int) -> int:
        return sum(len(body) for _, body in written(noise, **options))

    assert length(level=0) > 60 * 50 * 3
    assert length(level=9) < length(level=1)
    assert length() == length(level=6)


@pytest.mark.parametrize("rows", [4, 6])
def test_rows_must_be_as_many_as_promised(rows: int) -> None:
    writer = PngWriter(BytesIO(), (5, 2), 1, np.uint8)
    writer.write(np.zeros((rows, 2, 1), np.uint8))
    with pytest.raises(ValueError, match=f"{5 - rows} rows are missing"):
        writer.finish()


def test_however_many_rows_are_filtered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 6, 3), np.uint8)

    def rows() -> bytes:
        return zlib.decompress(b"".join(body for kind, body in written(pixels) if kind == b"IDAT"))

    expected = rows()
    for limit in (1, 18 * 5, 1 << 30):
        monkeypatch.setattr(png, "_BYTES_AT_ONCE", limit)
        assert rows() == expected
