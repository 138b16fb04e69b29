"""SMSR on a device by the native runner, measured by the command that a user types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from srdeploy.cli.main import run
from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.images import write_png
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR
from srdeploy.models.store import save_network
from srdeploy.quality.evaluate import evaluate
from tests.sparse.nets import centre


def write_smsr(folder: Path) -> Network:
    """``net.safetensors`` with masks half full, ``net.smsr``, and the benchmark set ``set``."""
    network = create("smsr", n_modules=2, n_layers=2, n_feats=12, mask_feats=4, reduction=4)
    assert isinstance(network.module, SMSR)
    torch.manual_seed(0)
    with torch.no_grad():
        for one in network.module.mask_modules():
            centre(network.module, one, 0.5)
    save_network(network, folder / "net.safetensors")
    (folder / "set").mkdir()
    write_png(folder / "set" / "a.png", open_benchmark("builtin", 2)[0].hr()[40:72, 40:87])
    assert run(["export", str(folder / "net.safetensors"), "-o", str(folder / "net.smsr")]) == 0
    return network


def check_smsr(uri: str, folder: Path, capsys: pytest.CaptureFixture[str], kernel: str) -> None:
    """A network and its model file: samples, quality and masks are the device's own."""
    network = write_smsr(folder)
    here = evaluate(network, folder / "set", 2, progress=False)
    for artifact, more in (("net.safetensors", ["--runtime", "sparse"]), ("net.smsr", [])):
        command = ["bench", str(folder / artifact), *more, "--threads", "1", "--input", "24x17"]
        command += ["--data", str(folder / "set"), "--scale", "2", "--seconds", "0.2", "--json"]
        capsys.readouterr()
        assert run([*command, "--device", uri]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert (row["runtime"], row["precision"]) == ("sparse", "fp32")
        assert row["p50_ms"] > 0
        assert row["psnr_y"] == pytest.approx(here.psnr_y, abs=0.001)
        notes = row["note"]
        assert f"sparse form in C, kernel {kernel}" in notes
        assert notes.count("% rows") == 2
