"""Kinds of pixels that files hold, and what is kept of what lies beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from srdeploy.data import picture as module
from srdeploy.data.picture import Picture, read_picture
from srdeploy.data.picture_write import write_picture
from srdeploy.errors import UserError

Tag = ExifTags.Base


@pytest.mark.parametrize(("value", "read"), [(0, True), (65535, True), (65536, False), (-1, False)])
def test_numbers_between_black_and_white(value: int, read: bool, tmp_path: Path) -> None:
    values = np.array([[5, value]], np.int32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    if read:
        assert read_picture(tmp_path / "a.tif").pixels[..., 0].tolist() == [[5, value]]
        assert read_picture(tmp_path / "a.tif").pixels.dtype == np.uint16
        return
    with pytest.raises(UserError, match="holds 32-bit numbers; save it with 8 or 16 bits"):
        read_picture(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("mode", "name", "channels"),
    [("1", "a.png", 1), ("L", "a.png", 1), ("LA", "a.png", 2), ("P", "a.png", 3),
     ("RGB", "a.png", 3), ("RGBA", "a.png", 4), ("YCbCr", "a.jpg", 3), ("CMYK", "a.tif", 3),
     ("LAB", "a.tif", 3), ("I;16", "a.png", 1)],
)  # fmt: skip
def test_channels_of_every_mode(mode: str, name: str, channels: int, tmp_path: Path) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / name)
    found = read_picture(tmp_path / name)
    assert found.pixels.shape == (4, 5, channels)
    assert found.size == (4, 5)


def test_a_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    image = Image.new("L", (2, 1), 9)
    image.putpixel((1, 0), 10)
    image.save(tmp_path / "a.png", transparency=9)
    assert read_picture(tmp_path / "a.png").pixels.tolist() == [[[9, 0], [10, 255]]]


def test_grey_and_alpha_of_sixteen_bits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (6, 7, 2)).astype(np.uint16)
    write_picture(tmp_path / "a.png", Picture(pixels))
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, pixels)
    assert read_picture(tmp_path / "a.png").alpha is not None


def test_only_what_is_true_of_the_result_is_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    kept = {Tag.ImageDescription: "d", Tag.Make: "m", Tag.Model: "n", Tag.Software: "s",
            Tag.DateTime: "2026:01:02 03:04:05", Tag.Artist: "a", Tag.Copyright: "c",
            Tag.XResolution: 72.0, Tag.YResolution: 72.0, Tag.ResolutionUnit: 2}  # fmt: skip
    for tag, value in {**kept, Tag.Orientation: 3, Tag.DocumentName: "no"}.items():
        exif[tag] = value
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[Tag.ExifImageWidth], details[Tag.ExifImageHeight] = 8, 9
    details[Tag.FNumber] = 2.5
    exif.get_ifd(ExifTags.IFD.GPSInfo)[1] = "N"
    Image.new("RGB", (5, 4)).save(tmp_path / "a.jpg", exif=exif)
    found = Image.Exif()
    found.load(read_picture(tmp_path / "a.jpg").exif)
    assert {tag: found[tag] for tag in kept} == kept
    assert found[Tag.Orientation] == 1
    assert Tag.DocumentName not in found
    inner = found.get_ifd(ExifTags.IFD.Exif)
    assert inner[Tag.FNumber] == 2.5
    assert Tag.ExifImageWidth not in inner
    assert Tag.ExifImageHeight not in inner
    assert found.get_ifd(ExifTags.IFD.GPSInfo)[1] == "N"


def test_nothing_to_keep_is_no_block(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[Tag.DocumentName] = "no"
    Image.new("RGB", (5, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").exif is None
    exif = Image.Exif()
    exif[Tag.Make] = "m"  # and no orientation
    Image.new("RGB", (5, 4)).save(tmp_path / "a.jpg", exif=exif)
    found = Image.Exif()
    found.load(read_picture(tmp_path / "a.jpg").exif)
    assert found[Tag.Make] == "m"
    assert Tag.Orientation not in found


def test_cmyk_with_a_damaged_profile_is_converted_without(tmp_path: Path) -> None:
    image = Image.new("CMYK", (5, 4), (0, 255, 255, 0))
    image.save(tmp_path / "a.jpg", icc_profile=b"no profile", quality=100)
    found = read_picture(tmp_path / "a.jpg")
    assert found.notes == ("CMYK is converted to sRGB",)
    assert found.icc is None
    assert np.abs(found.pixels.astype(int) - [254, 0, 0]).max() <= 3


def test_cmyk_goes_through_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    image, told = Image.new("CMYK", (2, 2)), []
    result = Image.new("RGB", (2, 2), (1, 2, 3))

    def through(image: object, source: object, target: object, outputMode: str) -> object:
        told.append((source.read(), outputMode))  # type: ignore[attr-defined]
        return result

    monkeypatch.setattr(ImageCms, "profileToProfile", through)
    assert module._srgb(image, b"profile") is result
    assert told == [(b"profile", "RGB")]
    assert module._srgb(image, None) is not result
    monkeypatch.setattr(ImageCms, "profileToProfile", lambda *_, **__: None)
    assert module._srgb(image, b"profile").mode == "RGB"


def test_one_frame_is_no_several(tmp_path: Path) -> None:
    Image.new("L", (5, 4)).save(tmp_path / "a.gif")
    assert read_picture(tmp_path / "a.gif").notes == ()


def test_arrays_are_pictures(tmp_path: Path) -> None:
    for shape, channels in (((4, 5), 1), ((4, 5, 2), 2), ((4, 5, 4), 4)):
        np.save(tmp_path / "a.npy", np.ones(shape, np.uint16))
        assert read_picture(tmp_path / "a.npy").pixels.shape == (4, 5, channels)


@pytest.mark.parametrize(
    ("channels", "alpha", "colour"), [(1, False, 1), (2, True, 1), (3, False, 3), (4, True, 3)]
)
def test_alpha_is_the_last_of_two_or_four(channels: int, alpha: bool, colour: int) -> None:
    pixels = np.arange(2 * 3 * channels, dtype=np.uint8).reshape(2, 3, channels)
    picture = Picture(pixels)
    assert (picture.alpha is not None) is alpha
    assert np.array_equal(picture.colour, pixels[..., :colour])
    if picture.alpha is not None:
        assert np.array_equal(picture.alpha, pixels[..., channels - 1])
