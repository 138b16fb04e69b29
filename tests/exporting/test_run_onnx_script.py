"""The stand-alone runner in export/onnx, run as its users run it: by path, without srdeploy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from srdeploy.data.images import read_rgb, write_png
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb

SCRIPT = Path(__file__).parents[2] / "export" / "onnx" / "run_onnx.py"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    smooth = np.cumsum(generator.normal(size=(21, 30, 3)), axis=0) * 8 + 128
    write_png(tmp_path / "photo.png", np.clip(smooth, 0, 255).astype(np.uint8))
    return tmp_path


def own_answer(folder: Path, scale: int) -> np.ndarray:
    with open_session(folder / "net.onnx", threads=1) as session:
        y = upscale_rgb(session, read_rgb(folder / "photo.png"), scale)
    return np.clip(np.floor(y + 0.5), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("arch", "scale", "config"),
    [
        ("ledsr", 3, {"n_blocks": 1, "n_feats": 8}),
        ("vdsr", 3, {"n_layers": 3, "n_feats": 8}),
    ],
)
def test_same_picture_as_our_own_session(
    arch: str, scale: int, config: dict[str, Any], folder: Path
) -> None:
    network = create(arch, scale=scale, **config)
    export_onnx(network, folder / "net.onnx")
    answer = run(folder, "net.onnx", "photo.png", "-o", "big.png", "--threads", "1", "--json")
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert report["output"] == [63, 90]
    assert "p50_ms" not in report
    found, expected = read_rgb(folder / "big.png"), own_answer(folder, scale)
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1  # rounding may fall either way
    assert (difference == 0).mean() > 0.999


def test_times(folder: Path) -> None:
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), folder / "net.onnx")
    answer = run(folder, "net.onnx", "photo.png", "--seconds", "0.05", "--min-runs", "12", "--json")
    report = json.loads(answer.stdout)
    assert len(report["samples_ms"]) >= 12
    assert sum(report["samples_ms"]) >= 50
    assert 0 < report["p50_ms"] <= report["p90_ms"] <= report["p99_ms"]
    assert report["first_ms"] > 0


def test_bad_input_is_one_line(folder: Path) -> None:
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), folder / "net.onnx")
    model = onnx.load(folder / "net.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "foreign.onnx")
    (folder / "broken.onnx").write_bytes(b"no")
    for arguments, reason in (
        (("absent.onnx", "photo.png"), "absent.onnx"),
        (("broken.onnx", "photo.png"), "cannot load 'broken.onnx'"),
        (("foreign.onnx", "photo.png"), "no srdeploy card"),
        (("net.onnx", "absent.png"), "absent.png"),
        (("net.onnx", "photo.png", "--scale", "3"), "upscales by [2], not by 3"),
        (("net.onnx", "photo.png", "--provider", "Nowhere"), "no provider Nowhere"),
    ):
        answer = run(folder, *arguments)
        assert answer.returncode == 2
        assert reason in answer.stderr
        assert "Traceback" not in answer.stderr
