"""Folders of pictures from anywhere: what is wrong with one stops that one, with its sentence."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srdeploy.data.picture import Picture
from srdeploy.data.picture_write import write_picture
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.upscaling import folder as module
from srdeploy.upscaling.folder import (
    PictureOutcome,
    Settings,
    find_pictures,
    name_results,
    upscale_pictures,
)
from srdeploy.upscaling.image import Upscaler

GREY = np.full((6, 5), 77, np.uint8)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(GREY).save(path, format="PNG")
    return path


def upscale(
    inputs: list[Path], output: Path, settings: Settings | None = None, memory: int | None = None
) -> dict[str, PictureOutcome]:
    """Of each picture, by its name."""
    settings = settings or Settings()
    upscaler = Upscaler(BicubicSession(), 2, memory=memory)
    targets = name_results(find_pictures([str(path) for path in inputs]), output, 2, settings)
    return {out.source.name: out for out in upscale_pictures(upscaler, targets, settings)}


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A folder with one good picture, for the tests to add to."""
    return picture(tmp_path / "in" / "good.png").parent


def test_names_of_any_length(strange: Path, tmp_path: Path) -> None:
    """A result's name may be as long as the disk allows, a temporary one is not longer."""
    fits, too_long = "f" * (255 - len("_x2.png")), "t" * (255 - len(".png"))
    for stem in (fits, too_long):
        picture(strange / f"{stem}.png")
    found = upscale([strange], tmp_path / "out")
    assert found["good.png"].state == found[f"{fits}.png"].state == "written"
    assert (tmp_path / "out" / f"{fits}_x2.png").is_file()
    failed = found[f"{too_long}.png"]
    assert failed.state == "failed"
    assert "File name too long" in failed.reason
    assert failed.reason.endswith("choose another output path.")


def test_names_that_no_disk_has(tmp_path: Path, strange: Path) -> None:
    found = upscale([strange / "good.png", strange / ("n" * 300 + ".png")], tmp_path / "out")
    assert [out.state for out in found.values()] == ["written", "failed"]


def test_what_is_no_file(strange: Path, tmp_path: Path) -> None:
    """Pipes would wait for ever, devices never end, links may lead nowhere or in a circle."""
    os.mkfifo(strange / "pipe.png")
    (strange / "zero.png").symlink_to("/dev/zero")
    (strange / "nothing.png").symlink_to("not-there.png")
    (strange / "circle.png").symlink_to("circle.png")
    (strange / "folder.png").mkdir()
    found = upscale([strange], tmp_path / "out")
    assert {name: out.state for name, out in found.items()} == {
        "good.png": "written",
        "circle.png": "failed",
        "nothing.png": "failed",
        "pipe.png": "failed",
        "zero.png": "failed",
    }
    assert "is a link to nothing" in found["nothing.png"].reason
    assert "Too many levels of symbolic links" in found["circle.png"].reason
    for name in ("pipe.png", "zero.png"):
        assert "it is a pipe or a device" in found[name].reason
    by_name = upscale([strange / "pipe.png"], tmp_path / "out")
    assert by_name["pipe.png"].state == "failed"


def test_a_folder_where_the_result_belongs(strange: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "good_x2.png").mkdir(parents=True)
    picture(strange / "other.png")
    found = upscale([strange], tmp_path / "out", Settings(overwrite=True))
    assert "is a folder" in found["good.png"].reason
    assert found["other.png"].state == "written"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EROFS, errno.ESTALE])
def test_whatever_the_system_says(
    code: int, strange: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(strange / "bad.png")
    real = module.sha256

    def fails(path: Path) -> str:
        if path.name == "bad.png":
            raise OSError(code, os.strerror(code), str(path))
        return real(path)

    monkeypatch.setattr(module, "sha256", fails)
    found = upscale([strange], tmp_path / "out")
    assert found["good.png"].state == "written"
    assert found["bad.png"].reason.startswith(f"'{strange / 'bad.png'}' is left out: ")
    assert os.strerror(code) in found["bad.png"].reason


def test_more_exif_than_a_format_holds(strange: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    Image.fromarray(GREY).save(strange / "told.png", exif=exif)
    found = upscale([strange], tmp_path / "out", Settings(format="jpeg"))
    assert found["good.png"].state == "written"
    assert found["told.png"].state == "failed"
    assert "choose --format png" in found["told.png"].reason
    assert upscale([strange], tmp_path / "png")["told.png"].state == "written"


def test_a_huge_picture_is_refused_before_it_is_decoded(
    strange: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("1", (12000, 12000)).save(strange / "huge.png")  # 144 megapixels in some kilobytes
    assert (strange / "huge.png").stat().st_size < 100_000

    def decodes(*_: object) -> None:
        raise AssertionError("it was decoded")

    kept = picture(tmp_path / "in2" / "huge.png")
    found = upscale([strange, kept.parent.parent / "none.png"], tmp_path / "o", memory=900_000_000)
    assert found["good.png"].state == "written"
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decodes)
    found = upscale([strange / "huge.png"], tmp_path / "out", memory=900_000_000)
    assert "12000x12000 pixels takes 1.8GB to decode" in found["huge.png"].reason
    assert "raise --memory, or crop it first" in found["huge.png"].reason


USE = """
import sys
from pathlib import Path
from srdeploy.runtime import footprint
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.upscaling.folder import Settings, name_results, upscale_pictures
from srdeploy.upscaling.image import Upscaler
source, output, room = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
held = footprint.resident()
upscaler = Upscaler(BicubicSession(), 2, memory=held + room)
settings = Settings(format=output.suffix[1:])
(out,) = upscale_pictures(upscaler, name_results([source], output, 2, settings), settings)
print(out.state, (footprint.peak() - held) / room, out.reason)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak")
@pytest.mark.parametrize(("ending", "room"), [("png", 70_000_000), ("tiff", 200_000_000)])
def test_sixteen_bits_with_alpha_stay_within_the_memory(
    ending: str, room: int, tmp_path: Path
) -> None:
    """All of it: reading, colours hidden under alpha, upscaling and writing."""
    if ending == "tiff":
        pytest.importorskip("tifffile")
    few = np.random.default_rng(0).integers(0, 65536, (100, 150, 4)).astype(np.uint16)
    few[..., 3] *= few[..., 3] > 30000
    noise = np.tile(few, (10, 8, 1))
    write_picture(tmp_path / "a.png", Picture(noise))
    line = [sys.executable, "-c", USE, str(tmp_path / "a.png"), str(tmp_path / f"b.{ending}")]
    done = subprocess.run([*line, str(room)], check=True, capture_output=True, text=True)
    state, share, *reason = done.stdout.split(maxsplit=2)
    assert state == "written", reason
    assert float(share) < 1.05
    done = subprocess.run([*line[:-1], str(tmp_path / f"c.{ending}"), str(room // 4)],
                          check=True, capture_output=True, text=True)  # fmt: skip
    state, share, *reason = done.stdout.split(maxsplit=2)
    assert state == "failed"
    assert "memory" in reason[0]
    assert float(share) < 1.5
