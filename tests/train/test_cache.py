from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import list_images, modcrop, read_rgb, rgb_to_y
from srdeploy.errors import UserError
from srdeploy.train import cache
from srdeploy.train.cache import LUMA_STEPS, open_folder
from srdeploy.util.files import cache_dir


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))


def test_colour_is_the_files_and_their_bicubic(photographs: Path) -> None:
    opened = open_folder(photographs, (2, 3), luma=False, upscaled=False)
    for index, file in enumerate(list_images(photographs)):
        image = read_rgb(file)
        assert np.array_equal(opened.targets[index], image)
        for scale in (2, 3):
            expected = imresize(modcrop(image, scale), 1 / scale)
            assert np.array_equal(opened.inputs[scale][index], expected)


def test_luma_is_never_rounded_to_grey_levels(photographs: Path) -> None:
    opened = open_folder(photographs, (3,), luma=True, upscaled=True)
    for index, file in enumerate(list_images(photographs)):
        y = rgb_to_y(read_rgb(file))
        assert np.abs(opened.targets[index][:, :, 0] / LUMA_STEPS - y).max() <= 0.5 / LUMA_STEPS
        cropped = modcrop(y, 3)
        expected = imresize(imresize(cropped, 1 / 3), size=cropped.shape[:2])
        got = opened.inputs[3][index][:, :, 0] / LUMA_STEPS
        assert np.abs(got - expected).max() <= 2 / LUMA_STEPS


def test_built_once_and_memory_mapped(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_folder(photographs, (2,), luma=False, upscaled=False)
    monkeypatch.setattr(cache, "read_rgb", lambda path: pytest.fail("decoded again"))
    monkeypatch.setattr(cache, "imresize", lambda *_, **__: pytest.fail("shrunk again"))
    opened = open_folder(photographs, (2,), luma=False, upscaled=False)
    assert isinstance(opened.targets.pixels, np.memmap)


def test_found_by_content_not_by_place(photographs: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(photographs, moved)
    here, there = (
        open_folder(f, (2,), luma=False, upscaled=False).digest for f in (photographs, moved)
    )
    assert here == there
    shutil.copy(moved / "0.png", moved / "1.png")
    assert open_folder(moved, (2,), luma=False, upscaled=False).digest != here


@pytest.mark.parametrize("damage", ["truncate", "flip", "index", "index_gone"])
def test_damage_is_noticed_and_repaired(photographs: Path, damage: str) -> None:
    before = np.array(open_folder(photographs, (2,), luma=False, upscaled=False).targets.pixels)
    for folder in (cache_dir() / "patches").iterdir():
        pixels, index = folder / "pixels.npy", folder / "index.json"
        content = bytearray(pixels.read_bytes())
        if damage == "truncate":
            pixels.write_bytes(content[:-100])
        elif damage == "flip":
            content[-7] ^= 255
            pixels.write_bytes(content)
        elif damage == "index":
            index.write_text(index.read_text()[:20])
        else:
            index.unlink()
    after = open_folder(photographs, (2,), luma=False, upscaled=False)
    assert np.array_equal(after.targets.pixels, before)


def test_a_bad_image_leaves_no_cache_behind(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(photographs, folder)
    (folder / "2.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"2\.png"):
        open_folder(folder, (2,), luma=False, upscaled=False)
    assert list((cache_dir() / "patches").iterdir()) == []
