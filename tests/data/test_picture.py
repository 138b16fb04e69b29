from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from srdeploy.data.picture import Picture, read_picture
from srdeploy.data.picture_write import FORMATS, find_format, format_of, open_writer
from srdeploy.data.png import PngWriter
from srdeploy.errors import UserError

tifffile = pytest.importorskip("tifffile")

ORIENTATION = 0x0112


def levels(channels: int, dtype: type, size: tuple[int, int] = (37, 29)) -> np.ndarray:
    """Smooth and noisy parts, so that every row filter is somewhere the best."""
    random = np.random.default_rng(channels)
    top = np.iinfo(dtype).max
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    smooth = (y * 3 + x * 5) / (size[0] * 3 + size[1] * 5) * top
    pixels = np.repeat(smooth[..., None], channels, axis=2)
    pixels[::4] = random.integers(0, top, pixels[::4].shape, endpoint=True)
    pixels[1::4, :, :] += np.arange(channels) * 7
    return np.clip(pixels, 0, top).astype(dtype)


def write(path: Path, pixels: np.ndarray, **options: object) -> Path:
    kind = format_of(path)
    assert kind is not None
    with open_writer(
        path, kind, pixels.shape[:2], pixels.shape[2], pixels.dtype, **options
    ) as writer:
        for start in range(0, len(pixels), 10):
            writer.write(pixels[start : start + 10])
    return path


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_what_is_written_is_read_back(
    tmp_path: Path, suffix: str, channels: int, dtype: type
) -> None:
    pixels = levels(channels, dtype)
    path = write(tmp_path / f"a{suffix}", pixels)
    if (suffix, channels, dtype) == (".tif", 2, np.uint16):  # which Pillow cannot read
        np.testing.assert_array_equal(tifffile.imread(path), pixels)
        return
    found = read_picture(path)
    assert found.pixels.dtype == dtype
    np.testing.assert_array_equal(found.pixels, pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_other_readers_read_our_png(tmp_path: Path, channels: int) -> None:
    pixels = levels(channels, np.uint8)
    with Image.open(write(tmp_path / "a.png", pixels, icc=srgb())) as image:
        image.verify()
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == ["L", "LA", "RGB", "RGBA"][channels - 1]
        assert image.info["icc_profile"] == srgb()
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_every_row_filter_is_used(tmp_path: Path) -> None:
    import zlib

    stream = BytesIO()
    pixels = np.concatenate(
        [levels(3, np.uint8), np.repeat(levels(3, np.uint8)[5:6], 9, axis=0)], axis=0
    )
    png = PngWriter(stream, pixels.shape[:2], 3, np.uint8)
    png.write(pixels)
    png.finish()
    data, raw = stream.getvalue(), b""
    place = 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"IDAT":
            raw += data[place + 8 : place + 8 + length]
        place += 12 + length
    rows = np.frombuffer(zlib.decompress(raw), np.uint8).reshape(len(pixels), -1)
    assert len(set(rows[:, 0])) >= 3


def test_missing_rows_leave_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="27 rows are missing"),
        open_writer(tmp_path / "a.png", FORMATS["png"], (37, 29), 3, np.uint8) as writer,
    ):
        writer.write(levels(3, np.uint8)[:10])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["raw", "zlib", "tiled"])
def test_sixteen_bit_tiff_of_any_storage(tmp_path: Path, kind: str) -> None:
    pixels = levels(3, np.uint16, (48, 64))
    path = tmp_path / "a.tif"
    options = {"tile": (16, 16)} if kind == "tiled" else {}
    compression = "zlib" if kind == "zlib" else None
    tifffile.imwrite(path, pixels, photometric="rgb", compression=compression, **options)
    np.testing.assert_array_equal(read_picture(path).pixels, pixels)


def test_sixteen_bit_big_endian_tiff(tmp_path: Path) -> None:
    pixels = levels(3, np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", byteorder=">")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels, pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int, dtype: type) -> None:
    stored = levels(3, dtype)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F] = "a camera"
    write(tmp_path / "a.png", stored, exif=exif.tobytes())
    found = read_picture(tmp_path / "a.png")
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: stored.swapaxes(0, 1)[:, ::-1],
        7: stored.swapaxes(0, 1)[::-1, ::-1],
        8: stored.swapaxes(0, 1)[::-1],
    }[orientation]
    np.testing.assert_array_equal(found.pixels, upright)
    kept = Image.Exif()
    kept.load(found.exif)
    assert kept[ORIENTATION] == 1
    assert kept[0x010F] == "a camera"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_exif_are_kept(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0110] = "a model"
    exif.get_ifd(0x8769)[0x829A] = 0.02  # exposure time
    path = write(tmp_path / f"a{suffix}", levels(3, np.uint8), icc=srgb(), exif=exif.tobytes())
    found = read_picture(path)
    assert found.icc == srgb()
    kept = Image.Exif()
    kept.load(found.exif)
    assert kept[0x0110] == "a model"
    assert float(kept.get_ifd(0x8769)[0x829A]) == pytest.approx(0.02)


def test_a_rotated_photograph_is_not_rotated_twice(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(levels(3, np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    once = read_picture(tmp_path / "a.jpg")
    assert once.size == (29, 37)
    again = write(tmp_path / "b.png", once.pixels, exif=once.exif)
    np.testing.assert_array_equal(read_picture(again).pixels, once.pixels)


def save(mode: str, path: Path, **options: object) -> Path:
    Image.fromarray(levels(4, np.uint8)).convert("RGB").convert(mode).save(path, **options)
    return path


def test_palettes_and_their_transparency(tmp_path: Path) -> None:
    assert read_picture(save("P", tmp_path / "a.png")).pixels.shape == (37, 29, 3)
    found = read_picture(save("P", tmp_path / "b.png", transparency=0))
    assert found.pixels.shape == (37, 29, 4)
    assert set(np.unique(found.alpha)) <= {0, 255}
    assert read_picture(save("RGB", tmp_path / "c.png", transparency=(0, 0, 0))).alpha is not None
    assert read_picture(save("1", tmp_path / "d.png")).pixels.shape == (37, 29, 1)


def test_cmyk_becomes_srgb(tmp_path: Path) -> None:
    found = read_picture(save("CMYK", tmp_path / "a.jpg", icc_profile=srgb()))
    assert found.pixels.shape == (37, 29, 3)
    assert found.icc is None
    assert "CMYK is converted to sRGB" in found.notes


def test_the_first_frame_of_several(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    found = read_picture(tmp_path / "a.webp")
    assert found.notes == ("the first of several frames is taken",)
    assert (found.pixels[..., 0] > 200).all()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no image"):
        read_picture(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match="no image format recognises it"):
        read_picture(tmp_path / "text.png")
    whole = write(tmp_path / "a.png", levels(3, np.uint16)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read as an image"):
        read_picture(tmp_path / "cut.png")
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(UserError, match="floating-point"):
        read_picture(tmp_path / "f.tif")
    Image.fromarray(np.full((4, 4), 70000, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(UserError, match="32-bit"):
        read_picture(tmp_path / "i.tif")


def test_formats_by_name() -> None:
    assert find_format("JPG").name == "jpeg"
    assert find_format(".tif").name == "tiff"
    with pytest.raises(UserError, match="did you mean 'png'"):
        find_format("pgn")


def test_a_picture_too_large_for_its_format(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="webp ends at 16383 a side; choose --format png"),
        open_writer(tmp_path / "a.webp", FORMATS["webp"], (10, 20000), 3, np.uint8),
    ):
        pass


def test_parts_of_a_picture() -> None:
    picture = Picture(levels(4, np.uint8))
    assert picture.colour.shape == (37, 29, 3)
    assert picture.alpha is not None
    assert Picture(levels(2, np.uint8)).colour.shape == (37, 29, 1)
    assert Picture(levels(3, np.uint8)).alpha is None
