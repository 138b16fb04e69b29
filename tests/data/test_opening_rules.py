"""How much memory decoding is said to take, where that ends, and what is told of damage."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, UnidentifiedImageError

from srdeploy.data import opening
from srdeploy.data.opening import bytes_to_read, decoding, is_wide, opened, raw_mode
from srdeploy.errors import SrdeployError, UserError


def header(mode: str, format: str = "PNG", tile: list | None = None) -> SimpleNamespace:
    bands = {"1": 1, "L": 1, "P": 1, "I": 1, "F": 1, "I;16": 1, "I;16B": 1, "LA": 2, "RGB": 3,
             "YCbCr": 3, "RGBA": 4, "CMYK": 4}[mode]  # fmt: skip
    return SimpleNamespace(
        mode=mode, format=format, tile=tile, width=20, height=10, getbands=lambda: "x" * bands
    )


@pytest.mark.parametrize(
    ("mode", "format", "raw", "per_pixel"),
    [
        ("1", "PNG", "1", 12), ("L", "PNG", "L", 12), ("I;16", "PNG", "I;16B", 10),
        ("I;16B", "TIFF", "I;16B", 10), ("I", "TIFF", "I", 8 + 2 * 4),
        ("F", "TIFF", "F", 8 + 2 * 4),
        ("P", "GIF", "P", 8 + 2 * 4), ("LA", "PNG", "LA", 8 + 2 * 3),
        ("RGB", "PNG", "RGB", 8 + 2 * 3),
        ("YCbCr", "JPEG", "YCbCr", 8 + 2 * 3), ("RGBA", "PNG", "RGBA", 8 + 2 * 4),
        ("CMYK", "JPEG", "CMYK", 8 + 2 * 4), ("RGB", "PNG", "RGB;16B", 10 + 4 * 3),
        ("RGBA", "PNG", "RGBA;16B", 10 + 4 * 4), ("LA", "PNG", "LA;16B", 10 + 4 * 2),
        ("RGB", "WEBP", "RGB", 8 + 2 * 3 + 12), ("RGB", "JPEG2000", "RGB", 8 + 2 * 3 + 10),
        ("RGB", "AVIF", "RGB", 8 + 2 * 3 + 6),
    ],
)  # fmt: skip
def test_memory_per_pixel(mode: str, format: str, raw: str, per_pixel: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(500))
    image = header(mode, format, [("zip", (0, 0, 20, 10), 0, raw)])
    own = 500 if format in ("WEBP", "JPEG2000", "AVIF") else 0
    expected = 20 * 10 * per_pixel * 1.05 + own + 2e6
    assert bytes_to_read(image, tmp_path / "a") == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tile", "raw", "wide"),
    [
        (None, "", False),
        ([], "", False),
        ([("zip", None, 0, "RGB;16B")], "RGB;16B", True),
        ([("raw", None, 0, ("RGBA;16L", 0, 1))], "RGBA;16L", True),
        ([("raw", None, 0, ("LA;16B",)), ("raw", None, 0, "RGB")], "LA;16B", True),
        ([("raw", None, 0, ("I;16", 0, 1))], "I;16", False),
        ([("raw", None, 0, ())], "", False),
        ([("raw", None, 0, None)], "", False),
    ],
)
def test_how_pixels_are_stored(tile: list | None, raw: str, wide: bool) -> None:
    image = header("RGB", tile=tile)
    assert raw_mode(image) == raw  # type: ignore[arg-type]
    assert is_wide(image) is wide  # type: ignore[arg-type]


def picture(path: Path) -> Path:
    Image.new("RGB", (20, 10)).save(path, format="PNG")
    return path


def test_a_picture_that_just_fits_is_read(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    needed = 20 * 10 * 14 * 1.05 + 2e6
    with opened(path, needed) as image:
        assert image.size == (20, 10)
    told = (
        rf"^'{path}' of 20x10 pixels takes 0\.002GB to decode, and 0\.002GB of memory are left for "
        "that; raise --memory, or crop it first."
    )
    with pytest.raises(UserError, match=told), opened(path, needed - 1):
        pass
    with pytest.raises(UserError, match="and 0GB of memory"), opened(path, -5.0):
        pass


def test_a_file_that_just_fits_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(500))
    with decoding(tmp_path / "a", 500) as room:
        assert room == 500
    told = r"a' takes 5e-07GB to decode, and 5e-07GB of memory"
    with pytest.raises(UserError, match=told), decoding(tmp_path / "a", 499):
        pass
    with decoding(tmp_path / "a", None) as room:
        assert room is None or room > 1e6
    monkeypatch.setattr(opening, "available", lambda: None)
    with decoding(tmp_path / "a", None) as room:
        assert room is None
    with opened(picture(tmp_path / "b.png")) as image:
        assert image.width == 20
    monkeypatch.setattr(opening, "available", lambda: 7)
    with pytest.raises(UserError, match="takes"), decoding(tmp_path / "a", None):
        pass


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("two\n  words. "), "cannot be read as an image (two words); replace or"),
        (ValueError(), "(ValueError)"),
        (OSError(5, "Broken"), "(Broken)"),
        (OSError("odd"), "(odd)"),
        (UnidentifiedImageError("cannot identify"), "(no image format recognises it)"),
        (Image.DecompressionBombError("huge"), "is too large to be read as one image; crop it"),
        (UserError("As told."), "As told."),
    ],
)
def test_damage_is_told_in_one_sentence(error: Exception, told: str, tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    with pytest.raises(SrdeployError) as refused, decoding(path):
        raise error
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(MemoryError), decoding(path):
        raise MemoryError


@pytest.mark.parametrize(
    ("format", "ending"), [("BMP", "bmp"), ("GIF", "gif"), ("PCX", "pcx"), ("PPM", "ppm"),
                           ("SGI", "sgi"), ("TGA", "tga"), ("TIFF", "tif"), ("DIB", "dib")],
)  # fmt: skip
def test_formats_that_are_read(format: str, ending: str, tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / f"a.{ending}", format=format)
    with opened(tmp_path / f"a.{ending}") as image:
        assert image.size == (4, 3)


def test_icons_are_no_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", format="ICO")
    with pytest.raises(UserError, match="no image format"), opened(tmp_path / "a.png"):
        pass


def test_large_pictures_are_read_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 150)
    with opened(picture(tmp_path / "a.png")):
        pass
    assert not recwarn.list
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 90)
    with pytest.raises(UserError, match="crop it first"), opened(tmp_path / "a.png"):
        pass
