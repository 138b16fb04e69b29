"""At 80 columns nothing is cut: every line fits, and names of files are whole."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srdeploy.cli.main import run
from srdeploy.compacting.run import prune_oneshot
from srdeploy.exporting.run import export
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.pruning.options import PruneOptions

LONG = "edsr-baseline-x2-dense-as-it-was-before-it-was-pruned"
SMALL = "edsr-baseline-x2-pruned-by-half-and-then-finetuned"
PICTURE = "a-photograph-of-a-butterfly-on-a-flower-in-the-garden.png"
FAST = "--runs 2 --seconds 0 --input 24x16 --eval-data set"
SHORT = "--batch 1 --patch 16 --iterations 2 --eval-data set --threads 1"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of networks, artifacts, pictures and a store, all of long names."""
    folder = tmp_path_factory.mktemp("desk")
    dense = create("ledsr", n_blocks=2, n_feats=8)
    small, _ = prune_oneshot(dense, PruneOptions(ratio=0.5))
    for name, network in ((LONG, dense), (SMALL, small)):
        save_network(network, folder / f"{name}.safetensors")
        export(network, "onnx", folder / f"{name}.onnx")
    save_network(create("smsr", n_modules=1, n_layers=2, n_feats=8), folder / "smsr.safetensors")
    shutil.copy(folder / f"{SMALL}.onnx", folder / "small.onnx")
    (folder / "set").mkdir()
    random = np.random.default_rng(0)
    pixels = random.integers(0, 255, (2, 64, 96, 3), np.uint8)
    for name, picture in zip((PICTURE, f"second-{PICTURE}"), pixels, strict=True):
        Image.fromarray(picture).save(folder / "set" / name)
    measured = ["bench", *(str(folder / f"{name}.onnx") for name in (LONG, SMALL))]
    measured += ["--device", "fake://desk", "--store", str(folder / "s.sqlite"), "--json"]
    assert run([*measured, *FAST.split()[:-2], "--no-quality"]) == 0
    return folder


@pytest.fixture
def at_80(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], str]:
    """Runs a command line there, in a terminal of 80 columns; returns what it printed."""
    monkeypatch.chdir(desk)
    monkeypatch.setenv("COLUMNS", "80")

    def call(line: str) -> str:
        capsys.readouterr()
        code = run(shlex.split(line))
        told = capsys.readouterr()
        assert code == 0, told.err
        wide = [text for text in told.out.splitlines() if len(text) > 80]
        assert not wide, wide
        assert "…" not in told.out
        return told.out

    return call


CASES = [
    (f"import {LONG}.safetensors -o copy-of-{LONG}.st", [f"copy-of-{LONG}.st"]),
    (f"inspect {SMALL}.safetensors --groups", []),
    (f"eval {LONG}.onnx --eval-data set", [Path(PICTURE).stem]),
    (
        f"prune {LONG}.safetensors --eval-data set -o again-{SMALL}.st",
        [f"again-{SMALL}.st"],
    ),
    (f"finetune {SMALL}.safetensors {SHORT} -o tuned-{SMALL}.st", [f"tuned-{SMALL}.st"]),
    (f"export {LONG}.safetensors -o new-{LONG}.onnx", [f"new-{LONG}.onnx"]),
    (f"export {LONG}.safetensors --precision fp16 -o half-{LONG}.onnx", [f"half-{LONG}.onnx"]),
    (f"bench {LONG}.onnx {SMALL}.onnx {LONG}.safetensors {FAST}", [
        f"{LONG}.onnx", f"{SMALL}.onnx", f"{LONG}.safetensors", "p50", "p90", "faster", "turns",
        "PSNR"]),
    (f"bench {LONG}.onnx {SMALL}.onnx {FAST} -v", [f"{LONG}.onnx", f"{SMALL}.onnx", "SSIM"]),
    (f"bench {LONG}.onnx {SMALL}.onnx --device fake://desk {FAST}", [
        f"{LONG}.onnx", f"{SMALL}.onnx"]),
    ("results s.sqlite", [f"{LONG}.onnx", f"{SMALL}.onnx", "fake://desk"]),
    (f"bench compare {LONG}.onnx {SMALL}.onnx --allow-noisy {FAST} --device fake://desk", [
        f"{SMALL}.onnx"]),
    (f"bench {LONG}.onnx {SMALL}.onnx --why --runs 2 --input 24x16 --threads 1", []),
    (f"compare {LONG}.safetensors {SMALL}.onnx {FAST}", [f"{LONG}.safetensors", f"{SMALL}.onnx"]),
    (f"explain {LONG}.onnx", [f"{LONG}.onnx"]),
    (f"upscale {LONG}.onnx set/{PICTURE} -o large", [f"{Path(PICTURE).stem}_x2.png"]),
    ("masks smsr.safetensors set/" + PICTURE + " -o masks", []),
    ("report s.sqlite --eval-data set -o the-page-about-it.html", ["the-page-about-it.html"]),
    ("run", ["demo"]),
    ("run demo --dry-run", ["tuned"]),
    ("zoo", ["edsr-s-x2-p30", "edsr-s-x4-p70"]),
    ("targets", ["coreml", "pip install 'srdeploy[litert]'"]),
    ("devices", ["aws-device-farm?config=phone.yaml", "qai-hub"]),
    ("scenarios", ["mobile-540p-quick"]),
    ("doctor", ["pip install 'srdeploy[litert]'", "--all"]),
    ("doctor --all", ["onnxruntime-tensorrt", "pip install 'srdeploy[litert]'"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "names"), CASES, ids=[line for line, _ in CASES])
def test_every_line_fits_and_names_are_whole(
    line: str, names: list[str], at_80: Callable[[str], str]
) -> None:
    told = at_80(line)
    for name in names:
        assert name in told, told


def test_an_artifact_is_a_line(at_80: Callable[[str], str]) -> None:
    """Where its name leaves room for what is essential."""
    told = at_80(f"bench small.onnx small.onnx {FAST}")
    rows = [line for line in told.splitlines() if line.startswith(" small.onnx")]
    assert len(rows) == 2
    assert all(len(row.split()) >= 4 for row in rows)
