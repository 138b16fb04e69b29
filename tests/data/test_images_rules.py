"""Folders in natural order, levels to the nearest, and arrays that are images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srdeploy.data import images
from srdeploy.data.images import (
    eight_bits,
    list_images,
    modcrop,
    read_rgb,
    rgb_to_ycbcr,
    upright,
    write_png,
    ycbcr_to_rgb,
)
from srdeploy.errors import UserError


def test_every_ending_counts_and_numbers_are_numbers(tmp_path: Path) -> None:
    names = ["1.bmp", "a1.png", "a01.png", "a2.jpeg", "a10.tiff", "b.TIF", "b1c2.webp", "b1c10.jpg"]
    for name in [*names, "x.npy", "y.pt", "z.gif", "w.png.txt"]:
        (tmp_path / name).touch()
    expected = [
        "1.bmp",
        "a01.png",
        "a1.png",
        "a2.jpeg",
        "a10.tiff",
        "b1c2.webp",
        "b1c10.jpg",
        "b.TIF",
    ]
    assert [path.name for path in list_images(tmp_path)] == expected


def test_arrays_count_where_there_are_no_pictures(tmp_path: Path) -> None:
    for name in ("10.npy", "9.pt", ".8.pt", "a.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in list_images(tmp_path)] == ["9.pt", "10.npy"]
    (tmp_path / "9.pt").unlink()
    (tmp_path / "10.npy").unlink()
    told = r"holds no images \(\.png \.jpg \.jpeg \.bmp \.tif \.tiff \.webp \.npy \.pt\)"
    with pytest.raises(UserError, match=told):
        list_images(tmp_path)


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(images.os, "listdir", closed)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        list_images(tmp_path)


@pytest.mark.parametrize("at_once", [1, 8, 1 << 16])
def test_wide_levels_go_to_the_nearest(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_AT_ONCE", at_once)
    wide = np.array([0, 128, 129, 385, 386, 65406, 65407, 65535], np.uint16).reshape(4, 2, 1)
    assert eight_bits(wide).ravel().tolist() == [0, 0, 1, 1, 2, 254, 255, 255]
    assert eight_bits(wide).dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_arrays_become_rgb_without_alpha(channels: int, dtype: type, tmp_path: Path) -> None:
    level = 257 if dtype == np.uint16 else 1
    stored = np.arange(2 * 3 * channels).reshape(2, 3, channels)
    np.save(tmp_path / "a.npy", (stored * level).astype(dtype))
    found = read_rgb(tmp_path / "a.npy")
    grey = channels < 3
    expected = np.repeat(stored[..., :1], 3, 2) if grey else stored[..., :3]
    assert np.array_equal(found, expected)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


def test_modcrop_up_to_the_smallest_size() -> None:
    image = np.arange(20).reshape(4, 5)
    assert modcrop(image, 4).shape == (4, 4)
    assert modcrop(image, 1).shape == (4, 5)
    assert modcrop(image.T, 3).shape == (3, 3)
    with pytest.raises(UserError, match="An image of 5x4 pixels is too small for scale 5"):
        modcrop(image, 5)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4, 3)), np.zeros(4, np.uint8), np.zeros((4, 4, 1), np.uint8),
     np.zeros((4, 4, 4), np.uint8), np.zeros((1, 4, 4, 3), np.uint8)],
)  # fmt: skip
def test_what_write_png_does_not_take(image: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="takes uint8 grey or RGB"):
        write_png(tmp_path / "a.png", image)


def test_png_of_any_layout_is_small(tmp_path: Path) -> None:
    image = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)[::-1, ::2]
    write_png(tmp_path / "a.jpg", image)
    with Image.open(tmp_path / "a.jpg") as found:
        assert found.format == "PNG"
    assert np.array_equal(read_rgb(tmp_path / "a.jpg"), image)
    flat = np.repeat(np.arange(120, dtype=np.uint8), 99).reshape(120, 99)
    write_png(tmp_path / "b.png", flat)
    Image.fromarray(flat).save(tmp_path / "c.png", compress_level=1)
    assert (tmp_path / "b.png").stat().st_size < (tmp_path / "c.png").stat().st_size


def test_what_lies_upright_is_left_alone() -> None:
    image = Image.new("L", (3, 2))
    assert upright(image) is image
    image.getexif()[0x0112] = 1
    assert upright(image) is image
    image.getexif()[0x0112] = 6
    assert upright(image).size == (2, 3)


def test_primary_colours_as_the_standard_has_them() -> None:
    primary = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]])
    expected = [[81.481, 90.203, 240], [144.553, 53.797, 34.214], [40.966, 240, 109.786],
                [235, 128, 128], [16, 128, 128]]  # fmt: skip
    assert np.allclose(rgb_to_ycbcr(primary), expected, atol=1e-9)
    assert np.allclose(ycbcr_to_rgb(np.array(expected)), primary, atol=1e-9)


def test_sixteen_bit_greys_of_all_kinds(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 65535]], np.int32)).save(tmp_path / "i.tif")
    assert read_rgb(tmp_path / "i.tif")[0, :, 0].tolist() == [0, 1, 255]
