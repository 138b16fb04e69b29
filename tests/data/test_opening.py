"""Image files from strangers: bounded before they are decoded, one sentence for any damage."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from srdeploy.data.images import list_images, read_rgb
from srdeploy.data.opening import opened
from srdeploy.data.picture import Picture, read_picture
from srdeploy.data.picture_write import write_picture
from srdeploy.errors import UserError

SIDE = (400, 600)
READERS: list[Callable[[Path], object]] = [read_rgb, read_picture]


def levels(channels: int, dtype: type, size: tuple[int, int] = SIDE) -> np.ndarray:
    ramp = np.add.outer(np.arange(size[0]), np.arange(size[1]))[..., None] * np.arange(1, 5)
    return (ramp[..., :channels] % (np.iinfo(dtype).max + 1)).astype(dtype)


def every_kind(folder: Path, size: tuple[int, int] = SIDE) -> list[Path]:
    """One file of each format and way of storing pixels that there is a writer for."""
    rgba = Image.fromarray(levels(4, np.uint8, size))
    turned = Image.Exif()
    turned[0x0112] = 6
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        rgba.convert("RGB").convert(mode).save(folder / f"{mode}.png")
    for channels in (1, 2, 3, 4):
        write_picture(folder / f"{channels}wide.png", Picture(levels(channels, np.uint16, size)))
    write_picture(
        folder / "3wide_turned.png",
        Picture(levels(3, np.uint16, size), exif=turned.tobytes()),
    )
    rgb = rgba.convert("RGB")
    rgb.save(folder / "turned.jpg", exif=turned)
    rgb.save(folder / "steps.jpg", progressive=True, subsampling=0)
    rgb.convert("CMYK").save(folder / "cmyk.jpg", exif=turned)
    rgb.save(folder / "a.bmp")
    rgb.save(folder / "a.tif", compression="tiff_adobe_deflate", strip_size=1 << 30)
    Image.fromarray(levels(1, np.uint16, size)[..., 0]).save(folder / "wide.tif")
    Image.fromarray(levels(1, np.uint16, size)[..., 0].astype(np.int32)).save(folder / "i.tif")
    rgb.convert("P").save(folder / "a.gif")
    rgb.save(folder / "a.webp")
    rgba.save(folder / "lossless.webp", lossless=True)
    for name in ("a.jp2", "a.avif"):
        if Image.registered_extensions().get(Path(name).suffix) in Image.SAVE:
            rgb.save(folder / name)
    return sorted(folder.iterdir())


PEAKS = """
import sys
from pathlib import Path
from srdeploy.data.images import read_rgb
from srdeploy.data.opening import bytes_to_read, opened
from srdeploy.data.picture import read_picture
from srdeploy.runtime import footprint
import numpy, PIL.ImageCms
for path in map(Path, sys.argv[1:]):
    for read in (read_picture, read_rgb):
        read(path)  # libraries, and what allocators keep
        with opened(path) as image:
            told = bytes_to_read(image, path)
        before = footprint._reset_peak()
        read(path)
        print(path.name, read.__name__, (footprint._watermark() - before) / told)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak")
def test_reading_takes_no_more_than_was_told(tmp_path: Path) -> None:
    files = every_kind(tmp_path, (500, 800))
    # Blocks of any size go back to the system at once, as those of large pictures do.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    line = [sys.executable, "-c", PEAKS, *map(str, files)]
    done = subprocess.run(line, check=True, capture_output=True, text=True, env=environment)
    shares = [row.split() for row in done.stdout.splitlines()]
    assert len(shares) == 2 * len(files)
    assert [row for row in shares if float(row[2]) > 1] == []
    assert max(float(row[2]) for row in shares) > 0.6  # it is no bound of the skies


def test_nothing_is_decoded_that_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = every_kind(tmp_path)

    def decodes(*_: object, **__: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decodes)
    for kind in ("Tiff", "WebP", "Png", "Gif", "Jpeg2K", "Avif"):
        plugin = sys.modules.get(f"PIL.{kind}ImagePlugin")
        for name in dir(plugin):
            if name.endswith("ImageFile") and "load" in vars(getattr(plugin, name)):
                monkeypatch.setattr(getattr(plugin, name), "load", decodes)
    for path in files:
        with pytest.raises(UserError, match=r"takes .*GB to decode.*raise --memory"):
            read_picture(path, room=300_000)


def _png(width: int, height: int, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        data += (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )
    return data


def test_sixteen_bit_bomb(tmp_path: Path) -> None:
    """A kilobyte that promises 13000x13000 pixels of four times 16 bits."""
    bomb = _png(13000, 13000, 16, 6, (b"IDAT", zlib.compress(bytes(1000))))
    (tmp_path / "a.png").write_bytes(bomb)
    with pytest.raises(UserError, match=r"13000x13000 pixels takes 4\.\dGB to decode"):
        read_picture(tmp_path / "a.png", room=2e9)
    (tmp_path / "b.png").write_bytes(_png(40000, 40000, 16, 6, (b"IDAT", b"")))
    with pytest.raises(UserError, match="too large to be read as one image"):
        read_picture(tmp_path / "b.png", room=2e9)


def test_a_file_larger_than_memory_is_not_opened(tmp_path: Path) -> None:
    with open(tmp_path / "a.webp", "wb") as file:
        file.write(b"RIFF\0\0\0\0WEBPVP8 ")
        file.truncate(1 << 42)  # sparse: it takes nothing on the disk
    for read in READERS:
        with pytest.raises(UserError, match="crop it first"):
            read(tmp_path / "a.webp")


@pytest.mark.parametrize("read", READERS)
def test_programs_are_no_pictures(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """PostScript would be handed to an interpreter, whatever the file is called."""
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    )
    with pytest.raises(UserError, match="no image format recognises it"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("read", READERS)
def test_pipes_and_devices_are_not_waited_for(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.npy").symlink_to("/dev/zero")
    for name in ("a.png", "b.npy"):
        with pytest.raises(UserError, match="a pipe or a device"):
            read(tmp_path / name)


def test_a_set_does_not_shrink_in_silence(tmp_path: Path) -> None:
    """A link that leads nowhere is an error when its turn comes, no smaller average."""
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.png").symlink_to("nowhere.png")
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.png"]
    with pytest.raises(UserError, match="is a link to nothing"):
        read_rgb(tmp_path / "b.png")


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    """Some hundred flipped, cut and doubled files of every kind."""
    chance = random.Random(0)
    files = every_kind(tmp_path, (12, 9))
    icc = _png(3, 3, 8, 2, (b"iCCP", b"a\0\0" + b"no zlib"), (b"IDAT", zlib.compress(bytes(30))))
    cases = [("icc.png", icc)]
    for path in files:
        whole = path.read_bytes()
        for _ in range(25):
            data = bytearray(whole)
            for _ in range(chance.choice((1, 2, 8))):
                data[chance.randrange(min(len(data), 400))] = chance.randrange(256)
            if chance.random() < 0.3:
                del data[chance.randrange(1, len(data)) :]
            cases.append((path.name, bytes(data)))
    refused = 0
    for name, data in cases:
        damaged = tmp_path / f"x{Path(name).suffix}"
        damaged.write_bytes(data)
        for read in READERS:
            refused += 1
            with suppress(UserError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(damaged)
                refused -= 1
    assert refused > 100


def test_opened_closes_the_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (3, 2)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    with opened(tmp_path / "a.png") as image:
        assert image.size == (3, 2)
    assert getattr(image, "fp", None) is None


def test_a_png_that_promises_more_than_deflate_can_give(tmp_path: Path) -> None:
    """Refused by its header: decoding would take the memory first and find the damage then."""
    path = tmp_path / "a.png"
    Image.new("RGB", (32, 32)).save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 12000, 12000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with (
        pytest.raises(UserError, match="too small a file for its 12000x12000 pixels"),
        opened(path),
    ):
        pass


@pytest.mark.parametrize(("depth", "colour", "mode"), [(1, 0, "1"), (2, 0, "L"), (1, 3, "P")])
def test_a_pixel_of_one_channel_takes_a_bit_at_the_least(
    tmp_path: Path, depth: int, colour: int, mode: str
) -> None:
    path = tmp_path / "a.png"  # of 57 bytes
    path.write_bytes(_png(20000, 10, depth, colour, (b"IDAT", b"")))  # 24 bytes at the least
    with opened(path, 1e9) as image:
        assert image.mode == mode
    path.write_bytes(_png(20000, 100, depth, colour, (b"IDAT", b"")))  # 242
    with pytest.raises(UserError, match="too small a file for its 20000x100"), opened(path, 1e9):
        pass


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_what_compresses_best_is_opened(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.new(mode, (3000, 3000)).save(path, optimize=True, compress_level=9)
    with opened(path) as image:
        assert image.size == (3000, 3000)


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"iCCP"])
def test_no_part_of_a_png_takes_more_memory_than_the_file_has(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (32, 24)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[:33] + struct.pack(">I4s", 0xFF00002A, kind) + data[41:])
    assert tracemalloc_peak(lambda: refused(path)) < 10_000_000


def tracemalloc_peak(work: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(path: Path) -> None:
    with pytest.raises(UserError, match="goes on beyond its end"):
        read_rgb(path)
