"""A fit with all that may follow: recovery, tiles, a limit of energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from srdeploy.devices.fake_arithmetic import padded_macs
from srdeploy.fitting.result import FitOptions, FitResult
from srdeploy.fitting.run import fit
from srdeploy.fitting.subject import Subject
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from srdeploy.train.defaults import finetune_recipe
from srdeploy.train.loop import train
from tests.fitting.conftest import ARITHMETIC

TRAINING = {"scales": [2], "patch": 16, "batch": 4, "precision": "fp32", "threads": 1,
            "workers": 0, "optimiser": {"kind": "adam", "lr": 2e-3}}  # fmt: skip


def _fit(network: Network, folder: Path, images: Path, **asked: Any) -> FitResult:
    settings = {"device": ARITHMETIC, "size": (32, 48), "precisions": ("fp32",),
                "pixel_shuffles": ("crd",), "network_wise": 0, "calibration": str(images),
                "data": str(images)}  # fmt: skip
    options = FitOptions.model_validate({**settings, **asked})
    (found,) = fit(network, "net", options, folder / "out", folder / "times.sqlite")
    return found


def _recipe(folder: Path, images: Path, iterations: int) -> Path:
    path = folder / f"{iterations}.yaml"
    data = {"folders": [str(images)]}
    path.write_text(yaml.safe_dump({**TRAINING, "data": data, "iterations": iterations}))
    return path


@pytest.mark.slow
def test_recovery_betters_the_network_and_the_budget_holds(
    small_images: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    start = create("ledsr", n_blocks=2, n_feats=16)
    recipe = finetune_recipe(start.card, _recipe(tmp_path, small_images, 150), {})
    dense = train(start, recipe, tmp_path / "dense", step="train")
    asked = str(_recipe(tmp_path, small_images, 100))
    result = _fit(dense, tmp_path, small_images, budgets_ms=(1.0,), recover=asked)
    assert result.met
    assert result.p50_ms <= 1.0
    assert sum(result.widths.values()) < sum(result.dense_widths.values())
    (made,) = (tmp_path / "out" / "work").glob("made-*.safetensors")
    tuned = load_network(tmp_path / "out" / result.weights)
    assert tuned.card.history[-1]["step"] == "finetune"
    before, after = (
        evaluate(network, small_images, 2).psnr for network in (load_network(made), tuned)
    )
    assert after > before + 0.1
    with open_session(tmp_path / "out" / result.artifact) as session:  # what was measured last
        assert session.card.history[-2]["step"] == "finetune"
    assert [point.step for point in result.points][-1] == "recovered"


def test_the_budget_counts_all_tiles(tiny: Subject, small_images: Path, tmp_path: Path) -> None:
    result = _fit(tiny.network, tmp_path, small_images, budgets_ms=(18.0,), size=(64, 96), tile=32)
    assert result.met
    assert result.predicted_ms == pytest.approx(result.p50_ms, rel=0.05)
    assert 0 < sum(result.widths.values()) < sum(result.dense_widths.values())
    whole = padded_macs(str(tmp_path / "out" / result.artifact), (1, 3, 64, 96), 8) / 20e6
    assert result.p50_ms > 1.5 * (0.5 + whole)  # six tiles with their overlap, each started


@pytest.mark.slow
def test_energy_is_a_limit_where_the_device_tells(
    tiny: Subject, small_images: Path, tmp_path: Path
) -> None:
    device = f"{ARITHMETIC}&watts=7.5&pace=0.08"  # time for its sensors to be read
    result = _fit(
        tiny.network, tmp_path, small_images, budgets_ms=(9.0,), max_mj=11.0, device=device
    )
    assert not result.shortfall
    assert result.energy_mj is not None
    assert 5.0 < result.energy_mj <= 11.0
    assert sum(result.widths.values()) < sum(result.dense_widths.values())  # 9 ms would do for all
