"""The whole line, by its commands, on a tiny network; and what is refused along it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from srdeploy.cli.main import run
from tests.cli.conftest import tiny_network

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import bad_input  # type: ignore[import-not-found]


def test_the_whole_line(command, tiny: Path, tmp_path: Path) -> None:
    seen = command("inspect", tiny)
    assert (seen["arch"], seen["scale"]) == ("ledsr", 2)
    assert seen["params"] == sum(
        p.numel() for p in tiny_network().module.parameters() if p.requires_grad
    )
    assert {group["status"] for group in seen["groups"]} == {"free", "coupled", "untouchable"}

    small = tmp_path / "small.safetensors"
    pruned = command("prune", tiny, "--ratio", "0.5", "-o", small)
    assert pruned["proof"]["max_difference"] < 1e-9
    assert pruned["params"]["compact"] < pruned["params"]["dense"]
    assert pruned["quality"]["masked"]["psnr_y"] == pytest.approx(
        pruned["quality"]["compact"]["psnr_y"], abs=1e-3
    )
    assert command("inspect", small)["widths"]["head.0"] == 4

    tuned = tmp_path / "tuned.safetensors"
    result = command(
        "finetune", small, "-o", tuned, "--iterations", 10, "--batch", 2, "--patch", 16,
        "--run-dir", tmp_path / "run", "--precision", "fp32", "--threads", 1,
    )  # fmt: skip
    assert set(result["quality"]) == {"before", "after"}

    artifact = tmp_path / "tuned.onnx"
    exported = command("export", tuned, "-o", artifact)
    assert exported["parity"]["relative"] < 1e-4

    measured = command("eval", artifact, "--data", "builtin")
    assert measured["psnr_y"] == pytest.approx(result["quality"]["after"]["psnr_y"], abs=0.01)
    assert measured["n_images"] == len(measured["per_image"]) == 4

    rows = command(
        "bench", tiny, artifact, "--input", "32x24", "--runs", 3, "--seconds", 0.1, "--no-quality"
    )
    assert [row["runtime"] for row in rows] == ["torch", "onnxruntime"]
    assert all(row["p50_ms"] > 0 and len(row["samples_ms"]) >= 3 for row in rows)
    assert rows[0]["params"] > rows[1]["params"]


def test_foreign_files_work_everywhere(command, tmp_path: Path) -> None:
    state = {f"module.{k}": v for k, v in tiny_network().module.state_dict().items()}
    foreign = tmp_path / "foreign.pth"
    torch.save({"state_dict": state}, foreign)
    own = tmp_path / "own.safetensors"
    assert command("import", foreign, "-o", own)["arch"] == "ledsr"
    assert command("inspect", foreign)["widths"] == command("inspect", own)["widths"]
    command("prune", foreign, "--ratio", 0.25, "--no-quality", "-o", tmp_path / "p.safetensors")
    command("export", foreign, "-o", tmp_path / "f.onnx")
    one = command("eval", foreign)
    assert one["psnr_y"] == pytest.approx(command("eval", own)["psnr_y"])


def test_a_network_of_the_users_own(command, refused, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "linenet.py").write_text(
        "import torch.nn as nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),\n"
        "                         nn.Conv2d(8, 12, 3, padding=1), nn.PixelShuffle(2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    import linenet  # type: ignore[import-not-found]

    torch.save(linenet.make().state_dict(), "mine.pth")
    command("import", "mine.pth", "--arch", "linenet:make", "-o", "mine.safetensors")
    small = command(
        "prune", "mine.pth", "--arch", "linenet:make", "--no-quality", "-o", "s.safetensors"
    )
    assert small["widths"]["0"] == 4
    code, sentence = refused("inspect", "s.safetensors")
    assert code == 2
    assert "--arch linenet:make" in sentence
    assert command("inspect", "s.safetensors", "--arch", "linenet:make")["widths"]["0"] == 4


def test_bad_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def here(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(folder)
        code = run(shlex.split(line))
        captured = capsys.readouterr()
        return subprocess.CompletedProcess(line, code, captured.out, captured.err)

    rows = bad_input.collect(here)
    assert len(rows) >= 10
    for what, _, code, sentence in rows:
        assert code == "2", (what, sentence)
        assert sentence.startswith("srdeploy: "), what
        assert len(sentence.splitlines()) == 1, what
