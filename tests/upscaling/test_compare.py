from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y, write_png
from srdeploy.data.picture import Picture
from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.quality.metrics import psnr
from srdeploy.quality.protocol import PROTOCOLS
from srdeploy.runtime.open import open_session
from srdeploy.upscaling import compare
from srdeploy.upscaling.compare import PictureComparison, PictureVersion, find_original, find_region
from srdeploy.upscaling.image import Upscaler


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("place", [(0, 0), (120, 200), (600, 700), (1071, 1139)])
def test_the_region_that_differs_most_is_found(place: tuple[int, int]) -> None:
    a = noise(1111, 1203)
    b = a.copy()
    top, left = place
    b[top : top + 40, left : left + 64] = 255 - b[top : top + 40, left : left + 64]
    b[::50, ::50] ^= 1  # a little everywhere
    rows, columns = find_region(a, b)
    assert rows.stop - rows.start == 120
    assert columns.stop - columns.start == 160
    assert rows.start <= top
    assert top + 40 <= rows.stop
    assert columns.start <= left
    assert left + 64 <= columns.stop


def test_a_small_picture_is_its_own_region() -> None:
    assert find_region(noise(30, 41), noise(30, 41, 1)) == (slice(0, 30), slice(0, 41))


@pytest.fixture
def set5(tmp_path: Path) -> Path:
    hr = imresize(noise(12, 15), size=(96, 120))
    write_png(tmp_path / "HR" / "a.png", hr)
    write_png(tmp_path / "LR_bicubic" / "X2" / "ax2.png", imresize(hr, 1 / 2))
    return tmp_path


def test_originals_are_found(set5: Path) -> None:
    lr = set5 / "LR_bicubic" / "X2" / "ax2.png"
    assert find_original(lr, 2, None) == set5.resolve() / "HR" / "a.png"
    assert find_original(set5 / "HR" / "a.png", 2, None) is None
    assert find_original(lr, 2, set5 / "HR") == set5 / "HR" / "a.png"
    assert find_original(lr, 2, set5 / "HR" / "a.png") == set5 / "HR" / "a.png"
    assert find_original(Path("other.png"), 2, set5 / "HR") is None


@pytest.mark.parametrize("on_disk", [False, True])
def test_figures_and_panels(
    set5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_disk: bool
) -> None:
    if on_disk:
        monkeypatch.setattr(compare, "_ON_DISK", 0)
    lr_path = set5 / "LR_bicubic" / "X2" / "ax2.png"
    picture = Picture(np.asarray(Image.open(lr_path)))
    with (
        open_session("edsr-s-x2") as dense,
        open_session(create("ledsr", n_blocks=1, n_feats=8)) as own,
    ):
        comparison = PictureComparison(
            [
                PictureVersion("dense", "a-rather-long-name-of-a-file" * 3, Upscaler(dense)),
                PictureVersion("pruned", "small.onnx", None),
            ],
            None,
            "",
        )
        upscaler = Upscaler(own)
        with comparison.begin(lr_path, picture, 2) as compared:
            bands = list(upscaler.bands(picture, np.uint8, upscaler.plan(picture.size)))
            for band in bands:
                compared.add(band, has_alpha=False)
            facts = compared.finish(tmp_path / "sheet.png")
    assert [row["label"] for row in facts["versions"]] == ["bicubic", "dense", "pruned"]
    hr = np.asarray(Image.open(set5 / "HR" / "a.png"))
    standard = PROTOCOLS["standard"]
    for row, result in zip(
        facts["versions"][::2], (imresize(picture.pixels.astype(float), 2), bands[0]), strict=True
    ):
        expected = psnr(standard.planes(result, 2), standard.planes(hr, 2))
        assert row["psnr"] == pytest.approx(expected, abs=1e-6)
    left, top, right, bottom = facts["region"]
    region = np.s_[top:bottom, left:right]
    assert facts["versions"][2]["psnr_region"] == pytest.approx(
        psnr(rgb_to_y(bands[0][region]), rgb_to_y(hr[region]))
    )
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet)
    # Where, bicubic, dense / pruned, HR, difference: 120x96 pixels four times enlarged.
    wide, tall = 4 * 120, 4 * 96
    assert pixels.shape[1] == 3 * (wide + 16) + 16
    second_row = 58 + tall + 40
    pruned = pixels[second_row + 58 : second_row + 58 + tall, 16 : 16 + wide]
    np.testing.assert_array_equal(pruned[::4, ::4], bands[0][region])
    bicubic = pixels[58 : 58 + tall, 16 + wide + 16 : 16 + wide + 16 + wide]
    assert not np.array_equal(bicubic[::4, ::4], bands[0][region])


def test_an_original_of_another_size_is_refused(set5: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "other" / "a.png", noise(90, 120))
    comparison = PictureComparison([PictureVersion("dense", "", None)], tmp_path / "other", "")
    picture = Picture(noise(48, 60))
    with (
        pytest.raises(UserError, match=r"is 120x90, so it is not the original .* \(120x96\)"),
        comparison.begin(set5 / "LR_bicubic" / "X2" / "ax2.png", picture, 2),
    ):
        pass
