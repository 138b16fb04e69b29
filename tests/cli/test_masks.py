"""``srdeploy masks`` and SMSR down the line, as a user runs them."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srdeploy.data.images import read_rgb, write_png
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR
from srdeploy.models.store import save_network
from srdeploy.reporting.masks_page import masks_page
from srdeploy.sparse.masks import find_masks
from tests.cli.conftest import Command


@pytest.fixture
def smsr(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = create("smsr", n_modules=2, n_layers=2, n_feats=8, mask_feats=4, reduction=2)
    assert isinstance(network.module, SMSR)
    with torch.no_grad():
        first, second = network.module.mask_modules()
        second.spa_mask[-1].weight.zero_()
        second.spa_mask[-1].bias.copy_(torch.tensor([1.0, 0.0]))  # never inside
        first.body.ch_mask[0].dense.fill_(2.0)
        first.body.ch_mask[1].sparse.fill_(2.0)
    save_network(network, tmp_path / "smsr.safetensors")
    return tmp_path / "smsr.safetensors"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    image = np.random.default_rng(0).integers(0, 255, (9, 14, 3), dtype=np.uint8)
    write_png(tmp_path / "<b>.png", image)
    return tmp_path / "<b>.png"


def test_page_pictures_and_figures(
    command: Command, smsr: Path, picture: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    document = command("masks", smsr, picture, "-o", folder)
    assert json.loads((folder / "masks.json").read_text()) == document
    first, second = document["modules"]
    assert 0 < first["inside"] < 1
    assert second["inside"] == 0.0
    share = first["inside"]
    dense, sparse = first["layers"]
    assert dense == {"dense": 8, "sparse": 0, "outputs": 1.0, "macs": 1.0}
    assert (sparse["dense"], sparse["sparse"]) == (0, 8)
    assert sparse["macs"] == sparse["outputs"] == pytest.approx(share)
    for layer in second["layers"]:
        assert layer["outputs"] == pytest.approx(layer["dense"] / 8)
        assert layer["macs"] <= layer["outputs"]
    # Per masked layer 8 x 8 x 9 MACs a pixel, 9 x 14 pixels.
    assert document["masked_layers"]["macs"] == 4 * 576 * 126
    mean = sum(la["macs"] for m in document["modules"] for la in m["layers"]) / 4
    assert document["masked_layers"]["computed"] == pytest.approx(mean)
    skipped = document["macs"] - document["computed_macs"]
    assert skipped == pytest.approx(4 * 576 * 126 * (1 - mean), abs=1)
    shown = read_rgb(folder / "mask-1.png")
    kept = (shown == read_rgb(picture)).all(2).mean()
    assert kept == pytest.approx(share, abs=0.02)
    assert read_rgb(folder / "all.png").shape == (9, 14, 3)


def test_the_page_stands_alone(command: Command, smsr: Path, picture: Path, tmp_path: Path) -> None:
    command("masks", smsr, picture, "-o", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert "$" not in page
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\((?!["']?data:)|https?://""", page)
    found = [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r"data:image/png;base64,([^\"]+)", page)
    ]
    assert [image.size for image in found] == [(14, 9)] * 4  # image, all modules, one each


def test_masks_are_those_the_network_uses(smsr: Path, picture: Path) -> None:
    from srdeploy.models.load import load_network

    network = load_network(smsr)
    image = read_rgb(picture)
    seen: list[torch.Tensor] = []
    assert isinstance(network.module, SMSR)
    report = find_masks(network, image)
    for one in network.module.mask_modules():
        one.body.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    with torch.no_grad():
        network.module(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    for module, mask in zip(report.modules, seen, strict=True):
        assert np.array_equal(module.mask, mask[0, 0].numpy() > 0)
    assert "Module 2" in masks_page(report, image, "a", "b")


def test_refusals(refused: Command, smsr: Path, picture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, sentence = refused("masks", "edsr-s-x2", picture, "-o", out)
    assert (code, out.exists()) == (2, False)
    assert "Masks belong to SMSR" in sentence
    code, sentence = refused("masks", smsr, tmp_path / "none.png", "-o", out)
    assert (code, out.exists()) == (2, False)
    code, sentence = refused("masks", smsr, picture, "-o", picture)
    assert code == 2
    assert "is a file" in sentence


@pytest.mark.parametrize(
    "method",
    ["srp", *(pytest.param(name, marks=pytest.mark.slow) for name in ("l1", "assl", "gassl"))],
)
def test_prune_tune_export(method: str, command: Command, smsr: Path, tmp_path: Path) -> None:
    tuned, artifact = tmp_path / "tuned.safetensors", tmp_path / "tuned.onnx"
    if method == "l1":
        small = tmp_path / "small.safetensors"
        report = command("prune", smsr, "--method", "l1", "-o", small, "--no-quality")
        quick = ("--iterations", "4", "--patch", "8", "--eval", "none")
        command("finetune", small, "-o", tuned, "--run-dir", tmp_path / "run", *quick)
        journal = tmp_path / "run" / "metrics.jsonl"
    else:
        recipe = {
            "prune": {
                "method": method,
                "ratio": 0.5,
                "penalty": {"growth": 0.5, "every": 1, "limit": 2.0, "hold": 2},
                "alignment": {"iterations": 2},
                "search": {"growth": 0.5, "every": 1, "limit": 1.0},
            },
            "training": {
                "data": {"folders": ["builtin"]},
                **{"patch": 8, "batch": 2, "log_every": 2, "threads": 1, "workers": 0},
            },
            "finetune": {"iterations": 2},
        }
        (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
        run = tmp_path / "run"
        report = command(
            "prune", smsr, "--recipe", tmp_path / "recipe.yaml", "-o", tuned, "--run-dir", run
        )
        journal = run / "regularise" / "metrics.jsonl"
    # Masks go on training as they ended: at the final temperature, with the sparsity loss.
    entry = json.loads(journal.read_text().splitlines()[-1])
    assert (entry["temperature"], entry["sparsity_weight"]) == (0.4, 0.1)
    assert 0 <= entry["density"] <= 1
    assert report["proof"]["max_difference"] < 1e-9
    assert report["params"]["compact"] < 0.5 * report["params"]["dense"]
    command("export", tuned, "-o", artifact)
    assert command("eval", artifact)["n_images"] == 4
