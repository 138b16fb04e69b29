"""VDSR's training file: what it holds by an independent computation, and that it trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.data.bicubic import imresize
from srdeploy.data.images import rgb_to_y, to_uint8, write_png
from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.train.hdf5 import Hdf5Patches
from srdeploy.train.make_hdf5 import main, write_hdf5
from srdeploy.train.recipe import TrainRecipe, read_recipe

h5py = pytest.importorskip("h5py")
RECIPES = Path(__file__).parents[2] / "configs" / "recipes"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, size in (("a", (90, 130)), ("b", (50, 45)), ("tiny", (3, 3))):
        write_png(folder / f"{name}.png", random.integers(0, 256, (*size, 3), dtype=np.uint8))
    return folder


def test_patches_of_every_size_and_scale(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.h5"
    count = write_hdf5([images], path)
    # 90x130: at 1 two rows of three for each scale; at .7 (63x91) one row of two; at .5 (45x65) one
    # patch. 50x45: one patch at 1 where 41 pixels are left. The others hold none.
    assert count == 3 * (2 * 3 + 2 + 1) + 3
    with h5py.File(path) as file:
        data, label = file["data"][:], file["label"][:]
    assert data.shape == label.shape == (count, 1, 41, 41)
    assert data.dtype == label.dtype == np.float32
    image = _read(images / "a.png")
    luma = to_uint8(rgb_to_y(image))[:90, :129] / 255.0  # x3
    enlarged = imresize(imresize(luma, 1 / 3), 3)
    place = 6 + 4  # after x2's six: the second row's second patch
    np.testing.assert_allclose(label[place, 0], luma[41:82, 41:82], atol=1e-6)
    np.testing.assert_allclose(data[place, 0], enlarged[41:82, 41:82], atol=1e-6)
    assert np.abs(data - label).max() > 0.01


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path))


def test_a_network_trains_on_it(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.h5"
    count = write_hdf5([images, images], path, scales=(2,), downsizes=(1.0,), patch=16, stride=8)
    recipe = read_recipe(
        RECIPES / "vdsr-hdf5.yaml",
        [f"data.hdf5={path}", "batch=4", "workers=0", "validation=null"],
    )
    assert isinstance(recipe, TrainRecipe)
    assert (recipe.clip.kind, recipe.clip.limit) == ("norm", 0.4)
    assert recipe.iterations == 5 * recipe.schedule.every  # type: ignore[union-attr,operator]
    source = Hdf5Patches(create("vdsr", n_layers=3, n_feats=4).card, recipe)
    assert source.told == f"{count} patches of train.h5"
    assert source.batch(0).inputs.shape == (4, 1, 16, 16)


def test_the_command(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.h5"
    assert main([str(images), "-o", str(path), "--scales", "2", "--patch", "8"]) == 0
    told = capsys.readouterr().out.splitlines()
    count = int(told[0].split()[0])
    assert told[0] == f"{count} patches written to {path}"
    assert told[1] == f"50 epochs at batch 128: {50 * (count // 128)} iterations"
    assert main([str(tmp_path / "none"), "-o", str(path)]) == 2
    assert "none" in capsys.readouterr().err
    for wrong in (
        ["--downsizes", "0"],
        ["--downsizes", "1.5"],
        ["--patch", "0"],
        ["--scales", "9"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(images), "-o", str(path), *wrong])
        assert ended.value.code == 2


def test_no_image_holds_a_patch(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No image holds a patch of 500 pixels"):
        write_hdf5([images], tmp_path / "train.h5", patch=500)
    assert not (tmp_path / "train.h5").exists()
