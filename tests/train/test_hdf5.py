from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.train.hdf5 import Hdf5Patches
from srdeploy.train.loop import train
from srdeploy.train.recipe import TrainRecipe

h5py = pytest.importorskip("h5py")
Make = Callable[..., TrainRecipe]


def write(path: Path, n: int = 10, size: int = 41, **other: np.ndarray) -> Path:
    random = np.random.default_rng(0)
    label = random.random((n, 1, size, size), dtype=np.float32)
    with h5py.File(path, "w") as file:
        file["label"] = label
        file["data"] = other.get("data", label + 0.1)
    return path


def test_every_patch_once_per_pass_and_pairs_kept(
    tiny_vdsr: Network, recipe: Make, tmp_path: Path
) -> None:
    path = write(tmp_path / "train.h5")
    source = Hdf5Patches(tiny_vdsr.card, recipe(data={"hdf5": str(path)}, batch=5))
    batches = [source.batch(i).to(torch.device("cpu")) for i in range(4)]
    for inputs, targets in batches:
        assert inputs.shape == (5, 1, 41, 41)
        assert torch.allclose(inputs - targets, torch.tensor(0.1), atol=1e-5)
    sums = [t.double().sum((1, 2, 3)).numpy().round(2) for _, t in batches]
    first, second = np.concatenate(sums[:2]), np.concatenate(sums[2:])
    assert len(np.unique(first)) == 10
    assert np.array_equal(np.sort(first), np.sort(second))
    again = source.batch(1).to(torch.device("cpu"))
    assert torch.equal(again[0], batches[1][0])


def test_trains(tiny_vdsr: Network, recipe: Make, tmp_path: Path) -> None:
    path = write(tmp_path / "train.h5")
    settings = recipe(data={"hdf5": str(path)}, iterations=5, batch=5, workers=2)
    result = train(tiny_vdsr, settings, tmp_path / "run")
    weights = zip(result.module.parameters(), tiny_vdsr.module.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in weights)


def test_bad_files(tiny: Network, tiny_vdsr: Network, recipe: Make, tmp_path: Path) -> None:
    good = write(tmp_path / "good.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    small = np.zeros((10, 1, 20, 20), np.float32)
    cases = [
        (tiny_vdsr, tmp_path / "none.h5", 4, "There is no file"),
        (tiny_vdsr, tmp_path / "text.h5", 4, "no HDF5 file"),
        (tiny_vdsr, tmp_path / "empty.h5", 4, "no HDF5 file"),
        (tiny_vdsr, good, 11, "fewer than one batch"),
        (tiny, good, 4, r"takes \[N, 3, H, W\]"),
        (tiny_vdsr, write(tmp_path / "unequal.h5", data=small), 4, "1 times as large"),
    ]
    for network, path, batch, message in cases:
        with pytest.raises(UserError, match=message):
            Hdf5Patches(network.card, recipe(data={"hdf5": str(path)}, batch=batch))


def test_without_h5py(tiny_vdsr: Network, recipe: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install 'srdeploy\[hdf5\]'"):
        Hdf5Patches(tiny_vdsr.card, recipe(data={"hdf5": "train.h5"}))
