"""LPIPS and DISTS: the published packages' figures, on networks of random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from srdeploy.cli.main import app
from srdeploy.errors import UserError
from srdeploy.models import perceptual
from srdeploy.models.registry import create
from srdeploy.quality.evaluate import evaluate
from srdeploy.quality.metric_weights import DISTS, FOLDER, LPIPS
from srdeploy.quality.metrics import METRICS
from srdeploy.testing.metrics import check_metric

packages = pytest.mark.skipif(
    find_spec("lpips") is None or find_spec("DISTS_pytorch") is None,
    reason="lpips and DISTS-pytorch are not installed",
)

TORCHVISION = '''
"""As much of torchvision as the two packages ask for."""
import os, sys, types, torch
from torch import nn

class Features(nn.Module):
    def __init__(self, layers, file):
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.load_state_dict(torch.load(file, weights_only=True))

def alexnet(*_, **__):
    layers = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
              nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
              nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
              nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
              nn.MaxPool2d(3, 2)]
    return Features(layers, os.environ["SRDEPLOY_PERCEPTUAL"] + "/alexnet-owt-7be5be79.pth")

def vgg16(*_, **__):
    layers, n = [], 3
    for v in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        layers += [nn.MaxPool2d(2)] if not v else [nn.Conv2d(n, v, 3, padding=1), nn.ReLU()]
        n = v or n
    return Features(layers, os.environ["SRDEPLOY_PERCEPTUAL"] + "/vgg16-397923af.pth")

models = types.ModuleType("torchvision.models")
models.alexnet, models.vgg16 = alexnet, vgg16
transforms = types.ModuleType("torchvision.transforms")
sys.modules["torchvision.models"], sys.modules["torchvision.transforms"] = models, transforms
'''

ASK = """
import sys, numpy, torch
sys.path.insert(0, sys.argv[1])
import lpips
from DISTS_pytorch import DISTS
pair = [torch.from_numpy(image.transpose(2, 0, 1)[None] / 255).float()
        for image in numpy.load(sys.argv[2])]
with torch.no_grad():
    print(float(lpips.LPIPS(net="alex", verbose=False)(*pair, normalize=True)))
    print(float(DISTS()(*pair)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's two files, of random weights."""
    made = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for source, network in ((LPIPS, perceptual._alexnet()), (DISTS, perceptual._vgg16())):
        for layer in network:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.uniform_(layer.bias, 0, 0.1)
        state = {f"features.{name}": tensor for name, tensor in network.state_dict().items()}
        torch.save(state, made / source.network)
    return made


@pytest.fixture
def weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


@packages
def test_as_the_published_packages(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text(TORCHVISION)
    random = np.random.default_rng(0)
    original = random.uniform(0, 255, (70, 81, 3))
    result = np.clip(original + random.normal(0, 20, original.shape), 0, 255)
    np.save(tmp_path / "pair.npy", np.stack([result, original]))
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK, str(tmp_path), str(tmp_path / "pair.npy")],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    wanted = [float(line) for line in found.stdout.split()]
    assert len(wanted) == 2, found.stderr
    assert perceptual.lpips(result, original) == pytest.approx(wanted[0], rel=1e-4)
    assert perceptual.dists(result, original) == pytest.approx(wanted[1], rel=1e-3)
    assert min(wanted) > 0.001


@packages
@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_the_contract(name: str, weights: Path) -> None:
    assert METRICS[name].missing() is None
    check_metric(name)


@packages
def test_they_are_measured_where_their_weights_are(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    pairs = "builtin"
    monkeypatch.delenv(FOLDER)
    assert evaluate(network, pairs, 2).figures.keys() == {"psnr", "ssim"}
    monkeypatch.setenv(FOLDER, str(weights))
    (weights / DISTS.network).rename(weights / "away")
    try:
        found = evaluate(network, pairs, 2, "rgb")
    finally:
        (weights / "away").rename(weights / DISTS.network)
    assert found.figures.keys() == {"psnr", "ssim", "lpips"}
    assert found.figures["lpips"] == pytest.approx(
        np.mean([image["lpips_rgb"] for image in found.per_image])
    )


def test_what_is_missing_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.zeros((40, 40, 3))
    for source, measure in ((LPIPS, perceptual.lpips), (DISTS, perceptual.dists)):
        monkeypatch.delenv(FOLDER, raising=False)
        told = rf"needs the weights of {source.title}, which are not downloaded: set {FOLDER}"
        with pytest.raises(UserError, match=told):
            measure(image, image)
        monkeypatch.setenv(FOLDER, str(tmp_path))
        assert source.network in str(source.missing())
        monkeypatch.setenv(FOLDER, str(folder))
        with monkeypatch.context() as patch:
            patch.setattr("srdeploy.quality.metric_weights.find_spec", lambda name: None)
            assert "pip install 'srdeploy[perceptual]'" in str(source.missing())
    torch.save({"features.0.weight": torch.zeros(1, 1, 3, 3)}, tmp_path / LPIPS.network)
    with pytest.raises(UserError, match="does not hold AlexNet as torchvision publishes it"):
        perceptual._filled(perceptual._alexnet(), tmp_path / LPIPS.network, LPIPS)


def test_the_command_line_says_what_was_asked_for_in_vain(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path / "nowhere"))
    found = CliRunner().invoke(app, ["eval", "bicubic", "--scale", "2", "--json"])
    notes = " ".join(json.loads(found.stdout)["notes"])
    for source, name in ((LPIPS, "lpips"), (DISTS, "dists")):
        assert f"metric {name} is not measured: it needs the weights of {source.title}" in notes
        assert f"https://download.pytorch.org/models/{source.network}" in notes
