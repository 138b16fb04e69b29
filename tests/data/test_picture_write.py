"""Formats: what each holds, what writing takes, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srdeploy.data import picture_write
from srdeploy.data.picture import Picture, read_picture
from srdeploy.data.picture_write import (
    FORMATS,
    find_format,
    format_of,
    open_writer,
    write_picture,
)
from srdeploy.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (30, 40, 4), np.uint8)


def write(path: Path, pixels: np.ndarray = NOISE[..., :3], **options: object) -> Path:
    kind = format_of(path)
    assert kind is not None
    size, channels = pixels.shape[:2], pixels.shape[2]
    with open_writer(path, kind, size, channels, pixels.dtype, **options) as writer:  # type: ignore[arg-type]
        for part in np.array_split(pixels, 3):
            writer.write(part)
    return path


@pytest.mark.parametrize(
    ("name", "channels", "dtype", "held"),
    [
        ("png", 4, np.uint16, 0), ("jpeg", 3, np.uint8, 10 * 20 * (3 + 8)),
        ("jpeg", 1, np.uint8, 10 * 20 * (1 + 8)), ("webp", 4, np.uint8, 10 * 20 * (4 + 46)),
        ("tiff", 4, np.uint16, 10 * 20 * (8 + 11)), ("tiff", 3, np.uint8, 10 * 20 * (3 + 11)),
    ],
)  # fmt: skip
def test_memory_until_it_is_written(name: str, channels: int, dtype: type, held: int) -> None:
    assert FORMATS[name].held((10, 20), channels, dtype) == held


@pytest.mark.parametrize(
    ("text", "name"),
    [("png", "png"), ("JPEG", "jpeg"), ("jpg", "jpeg"), (".webp", "webp"), ("tif", "tiff"),
     ("tiff", "tiff")],
)  # fmt: skip
def test_names(text: str, name: str) -> None:
    assert find_format(text).name == name
    assert format_of(f"a/b.{text.removeprefix('.')}") is FORMATS[name]
    assert format_of("a/png") is None


@pytest.mark.parametrize(
    ("name", "wide", "alpha"),
    [("png", True, True), ("jpeg", False, False), ("webp", False, True), ("tiff", True, True)],
)
def test_what_each_holds(name: str, wide: bool, alpha: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"

    def holds(channels: int, dtype: type) -> bool:
        try:
            write(path, NOISE[..., :channels].astype(dtype))
        except ValueError as error:
            return str(error) != f"{name} cannot hold {channels} channels of {np.dtype(dtype)}"
        return True

    assert holds(3, np.uint8)
    assert holds(1, np.uint8)
    assert [holds(2, np.uint8), holds(4, np.uint8)] == [alpha] * 2
    assert holds(3, np.uint16) is wide


@pytest.mark.parametrize(("name", "side"), [("webp", 16383), ("jpeg", 65500)])
def test_the_longest_side(name: str, side: int, tmp_path: Path) -> None:
    path = tmp_path / f"a{FORMATS[name].suffixes[0]}"
    assert max(Image.open(write(path, np.zeros((1, side, 3), np.uint8))).size) == side
    told = rf"would have 1x{side + 1} pixels, and {name} ends at {side} a side; choose"
    with (
        pytest.raises(UserError, match=told),
        open_writer(path, FORMATS[name], (side + 1, 1), 3, np.uint8),
    ):
        pass
    assert FORMATS["png"].largest == FORMATS["tiff"].largest == 2**31 - 1


def test_webp_of_full_quality_loses_nothing(tmp_path: Path) -> None:
    pixels = NOISE.copy()
    pixels[:10, :, 3] = 0  # hidden colours stay as well
    found = read_picture(write(tmp_path / "a.webp", pixels, quality=100))
    assert np.array_equal(found.pixels, pixels)
    found = read_picture(write(tmp_path / "a.webp", pixels, quality=99))
    assert not np.array_equal(found.pixels, pixels)
    assert read_picture(write(tmp_path / "b.webp", pixels[..., :1])).pixels.shape[2] == 3
    assert read_picture(write(tmp_path / "b.webp", pixels[..., :2])).pixels.shape[2] == 4


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_quality_is_heeded(name: str, tmp_path: Path) -> None:
    sizes = [write(tmp_path / name, quality=quality).stat().st_size for quality in (20, 90, 95)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert write(tmp_path / name).stat().st_size == sizes[2]  # 95 unless told


def test_jpeg_keeps_colours_at_full_size(tmp_path: Path) -> None:
    with Image.open(write(tmp_path / "a.jpg")) as image:
        assert [(h, v) for _, h, v, _ in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def exif(details: bool) -> bytes:
    block = Image.Exif()
    block[0x0110] = "a model"
    if details:
        block.get_ifd(0x8769)[0x829A] = 0.02
    return block.tobytes()


@pytest.mark.parametrize(
    ("block", "compression"),
    [(None, "tiff_adobe_deflate"), (False, "tiff_adobe_deflate"), (True, "raw")],
)
def test_tiff_is_packed_where_it_can_be(
    block: bool | None, compression: str, tmp_path: Path
) -> None:
    told = None if block is None else exif(block)
    with Image.open(write(tmp_path / "a.tif", exif=told)) as image:
        assert image.info["compression"] == compression
        assert image.getexif().get(0x0110) == (None if block is None else "a model")


def test_place_is_a_detail_too() -> None:
    block = Image.Exif()
    block.get_ifd(0x8825)[1] = "N"
    assert picture_write._has_details(block.tobytes())
    assert not picture_write._has_details(exif(False))
    assert not picture_write._has_details(None)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_wide_tiff_says_what_its_channels_are(channels: int, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = NOISE[..., :channels].astype(np.uint16) * 250
    path = write(tmp_path / "a.tiff", pixels, icc=b"profile of some kind")
    with tifffile.TiffFile(path) as file:
        tags = {tag.name: tag.value for tag in file.pages[0].tags}
        assert np.array_equal(file.asarray().reshape(pixels.shape), pixels)
    assert tags["PhotometricInterpretation"] == (2 if channels > 2 else 1)
    assert tags["SamplesPerPixel"] == channels
    assert tags.get("PlanarConfiguration") == (1 if channels > 1 else None)
    assert tags.get("ExtraSamples") == ((2,) if channels in (2, 4) else None)
    assert tags["Compression"] == 8
    assert tags["InterColorProfile"] == b"profile of some kind"
    assert not any("shape" in str(value) for value in tags.values())


def test_without_tifffile_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_write, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"Writing '\.tiff' with 16 bits needs tifffile; install"):
        write(tmp_path / "a.tiff", NOISE[..., :3].astype(np.uint16))
    write(tmp_path / "a.tiff")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tiff"]


def test_a_profile_that_does_not_fit_is_told(tmp_path: Path) -> None:
    block = Image.Exif()
    block[0x010E] = "x" * 70_000
    with pytest.raises(UserError, match=r"jpeg does not hold the picture's profile or EXIF \("):
        write(tmp_path / "a.jpg", exif=block.tobytes())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "pixels", "told"),
    [
        ("a.gif", NOISE, r"names no image format by its ending; choose from \.png, \.jpg, \.jpeg"),
        ("a.jpg", NOISE, r"jpeg has no alpha; choose \.png, or leave alpha out"),
        ("a.jpg", NOISE[..., :3].astype(np.uint16), r"jpeg has 8 bits; choose \.png, or round"),
        ("a.webp", NOISE.astype(np.uint16), r"webp has 8 bits"),
    ],
)
def test_pictures_that_do_not_fit(name: str, pixels: np.ndarray, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        write_picture(tmp_path / name, Picture(pixels))


def test_a_picture_is_written_with_what_belongs_to_it(tmp_path: Path) -> None:
    picture = Picture(NOISE, b"profile", exif(True))
    for name in ("a.png", "a.webp"):
        write_picture(tmp_path / name, picture, 100)
        found = read_picture(tmp_path / name)
        assert np.array_equal(found.pixels, NOISE)
        assert found.icc == b"profile"
        assert b"a model" in (found.exif or b"")
    write_picture(tmp_path / "few.jpg", Picture(NOISE[..., :3]), 10)
    write_picture(tmp_path / "many.jpg", Picture(NOISE[..., :3]))
    assert (tmp_path / "few.jpg").stat().st_size < (tmp_path / "many.jpg").stat().st_size / 2
