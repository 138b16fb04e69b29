from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srdeploy.data.images import (
    list_images,
    modcrop,
    read_rgb,
    rgb_to_y,
    rgb_to_ycbcr,
    to_uint8,
    write_png,
    ycbcr_to_rgb,
)
from srdeploy.errors import UserError


@pytest.fixture
def colours() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_png_round_trip(tmp_path: Path, colours: np.ndarray) -> None:
    write_png(tmp_path / "new" / "a.png", colours)
    np.testing.assert_array_equal(read_rgb(tmp_path / "new" / "a.png"), colours)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_grey_is_repeated(tmp_path: Path, colours: np.ndarray) -> None:
    write_png(tmp_path / "grey.png", colours[..., 0])
    image = read_rgb(tmp_path / "grey.png")
    assert image.shape == (6, 9, 3)
    np.testing.assert_array_equal(image, np.repeat(colours[..., :1], 3, axis=2))


def test_alpha_is_dropped_not_blended(tmp_path: Path, colours: np.ndarray) -> None:
    alpha = np.zeros((6, 9, 1), np.uint8)
    Image.fromarray(np.concatenate([colours, alpha], axis=2)).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "rgba.png"), colours)
    Image.fromarray(np.concatenate([colours[..., :1], alpha], axis=2)).save(tmp_path / "la.png")
    np.testing.assert_array_equal(
        read_rgb(tmp_path / "la.png"), np.repeat(colours[..., :1], 3, axis=2)
    )


def test_palette_and_bilevel(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([1, 0])
    palette.save(tmp_path / "p.png")
    assert read_rgb(tmp_path / "p.png").tolist() == [[[200, 100, 50], [10, 20, 30]]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "one.png")
    assert read_rgb(tmp_path / "one.png")[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{suffix}")
    assert read_rgb(tmp_path / f"deep.{suffix}")[0, :, 0].tolist() == [0, 0, 1, 100, 255]


def test_cmyk_and_jpeg(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
    assert np.abs(read_rgb(tmp_path / "c.jpg").mean(axis=(0, 1)) - [255, 0, 0]).max() < 4


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to view
    image.save(tmp_path / "turned.png", exif=exif)
    assert read_rgb(tmp_path / "turned.png")[..., 0].tolist() == [[120, 0], [160, 40], [200, 80]]


def test_unreadable_files_name_themselves(tmp_path: Path, colours: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "bmp", "tif"):
        whole = tmp_path / f"whole.{suffix}"
        Image.fromarray(noise).save(whole)
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(whole.read_bytes()[:2000])
        with pytest.raises(UserError, match=rf"cut\.{suffix}' cannot be read") as caught:
            read_rgb(cut)
        assert "\n" not in str(caught.value)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"text\.png"):
        read_rgb(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(UserError, match=r"empty\.png"):
        read_rgb(tmp_path / "empty.png")
    with pytest.raises(UserError, match="There is no image"):
        read_rgb(tmp_path / "absent.png")
    with pytest.raises(UserError, match="cannot be read"):
        read_rgb(tmp_path)
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UserError, match="floating-point"):
        read_rgb(tmp_path / "float.tif")


def test_listing_is_natural_and_ignores_the_rest(tmp_path: Path) -> None:
    names = ["img10.png", "img2.PNG", "b.jpg", "1.webp", ".hidden.png", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["1.webp", "b.jpg", "img2.PNG", "img10.png"]


def test_listing_without_images(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images"):
        list_images(tmp_path)
    with pytest.raises(UserError, match="There is no folder"):
        list_images(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file"):
        list_images(tmp_path / "file")


def test_modcrop() -> None:
    image = np.arange(7 * 8 * 3).reshape(7, 8, 3)
    np.testing.assert_array_equal(modcrop(image, 3), image[:6, :6])
    assert modcrop(image[..., 0], 4).shape == (4, 8)
    with pytest.raises(UserError, match="too small"):
        modcrop(image, 9)


def test_luma_matches_matlab() -> None:
    extremes = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    np.testing.assert_allclose(
        rgb_to_y(extremes.astype(np.uint8)), [16, 235, 81.481, 144.553, 40.966], atol=1e-9
    )
    np.testing.assert_allclose(
        rgb_to_ycbcr(np.array([255.0, 0.0, 0.0])), [81.481, 90.203, 240.0], atol=1e-9
    )


def test_colour_conversion_inverts(colours: np.ndarray) -> None:
    back = ycbcr_to_rgb(rgb_to_ycbcr(colours))
    np.testing.assert_allclose(back, colours, atol=1e-9)
    np.testing.assert_array_equal(to_uint8(back), colours)
    np.testing.assert_allclose(rgb_to_ycbcr(colours)[..., 0], rgb_to_y(colours), atol=1e-9)


def test_rounding_to_uint8() -> None:
    assert to_uint8(np.array([-3.0, 0.5, 1.5, 2.49, 300.0])).tolist() == [0, 1, 2, 2, 255]


def test_write_png_refuses_other_arrays(tmp_path: Path, colours: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "a.png", colours.astype(float))
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "a.png", colours[..., :2])
    assert list(tmp_path.iterdir()) == []


def test_sixteen_bit_colour_keeps_the_high_byte(tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    # Pillow cannot write 16 bits per channel, so one row of two pixels is spelt out.
    row = b"\0" + struct.pack(">6H", 0x0AFF, 0x1400, 0x1E80, 0xFFFF, 0x0000, 0x80FF)
    (tmp_path / "deep.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    assert read_rgb(tmp_path / "deep.png").tolist() == [[[10, 20, 30], [255, 0, 128]]]
