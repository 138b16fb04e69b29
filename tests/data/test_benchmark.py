from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from srdeploy.data.benchmark import Middle, Pair, open_benchmark
from srdeploy.data.bicubic import imresize
from srdeploy.data.images import modcrop, read_rgb, write_png
from srdeploy.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).uniform(0, 255, (height // 4 + 2, width // 4 + 2, 3))
    smooth = imresize(coarse, size=(height, width))
    return np.clip(smooth, 0, 255).astype(np.uint8)


@pytest.fixture
def edsr(tmp_path: Path) -> Path:
    root = tmp_path / "Set2"
    for seed, name in enumerate(["a2", "a10"]):
        image = picture(37, 50, seed)
        write_png(root / "HR" / f"{name}.png", image)
        for scale in (2, 3):
            small = imresize(modcrop(image, scale), 1 / scale)
            write_png(root / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png", small)
    return root


@pytest.mark.parametrize("scale", [2, 3])
def test_edsr_layout(edsr: Path, scale: int, cache: Path) -> None:
    pairs = open_benchmark(edsr, scale)
    assert [p.name for p in pairs] == ["a2", "a10"]
    for pair in pairs:
        assert pair.lr_path is not None
        hr, lr = pair.hr(), pair.lr()
        assert hr.shape == (37 - 37 % scale, 50 - 50 % scale, 3)
        assert lr.shape == (37 // scale, 50 // scale, 3)
        np.testing.assert_array_equal(lr, imresize(hr, 1 / scale))
    assert not cache.exists()


def test_inputs_are_made_once_and_cached(edsr: Path, cache: Path) -> None:
    shutil.rmtree(edsr / "LR_bicubic" / "X3")
    pair = open_benchmark(edsr, 3)[0]
    assert pair.lr_path is None
    expected = imresize(pair.hr(), 1 / 3)
    np.testing.assert_array_equal(pair.lr(), expected)
    [file] = cache.rglob("*.png")
    # A second read comes from the cache: mark the file and see the mark.
    write_png(file, np.zeros_like(expected))
    assert pair.lr().max() == 0
    # A damaged file is made anew; other content and other scales have files of their own.
    file.write_bytes(b"damaged")
    np.testing.assert_array_equal(pair.lr(), expected)
    np.testing.assert_array_equal(read_rgb(file), expected)
    write_png(pair.hr_path, picture(37, 50, seed=9))
    np.testing.assert_array_equal(pair.lr(), imresize(pair.hr(), 1 / 3))
    open_benchmark(edsr / "HR", 2)[0].lr()
    assert len(list(cache.rglob("*.png"))) == 3


def test_unwritable_cache_costs_only_time(edsr: Path, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    pair = open_benchmark(edsr / "HR", 2)[0]
    np.testing.assert_array_equal(pair.lr(), imresize(pair.hr(), 0.5))


def test_flat_layouts(tmp_path: Path) -> None:
    image = picture(40, 30)
    write_png(tmp_path / "flat" / "one.png", image)
    assert open_benchmark(tmp_path / "flat", 4)[0].lr().shape == (10, 7, 3)
    marked = np.full((10, 7, 3), 77, np.uint8)
    write_png(tmp_path / "flat" / "LR_bicubic" / "X4" / "onex4.png", marked)
    np.testing.assert_array_equal(open_benchmark(tmp_path / "flat", 4)[0].lr(), marked)


def test_grey_original(tmp_path: Path) -> None:
    write_png(tmp_path / "grey" / "g.png", picture(24, 24)[..., 0])
    pair = open_benchmark(tmp_path / "grey", 2)[0]
    assert pair.hr().shape == (24, 24, 3)
    lr = pair.lr()
    np.testing.assert_array_equal(lr[..., 0], lr[..., 2])


def test_mismatched_pair_is_named(edsr: Path) -> None:
    write_png(edsr / "LR_bicubic" / "X2" / "a2x2.png", picture(19, 25))
    with pytest.raises(UserError, match=r"a2x2\.png' is 25x19.*a2\.png.*needs 25x18 at scale 2"):
        open_benchmark(edsr, 2)[0].lr()


def test_missing_input_is_named(edsr: Path) -> None:
    (edsr / "LR_bicubic" / "X2" / "a10x2.png").unlink()
    with pytest.raises(UserError, match=r"no 'a10x2\.png'"):
        open_benchmark(edsr, 2)


def test_too_small_an_original(tmp_path: Path) -> None:
    write_png(tmp_path / "tiny" / "dot.png", picture(2, 2))
    with pytest.raises(UserError, match=r"dot\.png' is too small for scale 3"):
        open_benchmark(tmp_path / "tiny", 3)[0].hr()


def test_missing_folder() -> None:
    with pytest.raises(UserError, match="There is no folder"):
        open_benchmark("nowhere", 2)


def test_builtin_images() -> None:
    pairs = open_benchmark("builtin", 2)
    assert len(pairs) == 4
    assert sum(pair.hr_path.stat().st_size for pair in pairs) < 700_000
    licences = (pairs[0].hr_path.parents[1] / "LICENSES.md").read_text()
    for pair in pairs:
        hr = pair.hr()
        assert min(hr.shape[:2]) >= 192
        assert pair.lr().shape == (hr.shape[0] // 2, hr.shape[1] // 2, 3)
        assert f"`benchmark/{pair.hr_path.name}`" in licences


def test_the_middle_of_a_pair(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    hr = generator.integers(0, 256, (61, 90, 3), np.uint8)
    lr = generator.integers(0, 256, (20, 30, 3), np.uint8)
    write_png(tmp_path / "a.png", hr)
    write_png(tmp_path / "ax3.png", lr)
    whole = Pair("a", 3, tmp_path / "a.png", tmp_path / "ax3.png")
    middle = Middle("a", 3, tmp_path / "a.png", tmp_path / "ax3.png", side=8)
    np.testing.assert_array_equal(middle.lr(), lr[6:14, 11:19])
    np.testing.assert_array_equal(middle.hr(), hr[18:42, 33:57])
    made = Middle("a", 3, tmp_path / "a.png", side=8)
    np.testing.assert_array_equal(made.lr(), imresize(middle.hr(), 1 / 3))
    small = Middle("a", 3, tmp_path / "a.png", tmp_path / "ax3.png")
    np.testing.assert_array_equal(small.hr(), whole.hr())
    np.testing.assert_array_equal(small.lr(), lr)
