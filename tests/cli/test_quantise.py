"""Fine-tuning for 8 bits as a user does it: finetune, export, explain; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from srdeploy.exporting.precision.graph import convolution_kinds

SHORT = ("--batch", 2, "--patch", 12, "--threads", 1)


@pytest.mark.slow
def test_finetune_export_explain(command, tiny: Path, tmp_path: Path) -> None:
    tuned, artifact = tmp_path / "tuned.safetensors", tmp_path / "tuned.onnx"
    asked = ("finetune", tiny, "--quantise", "int8", "--iterations", 8, *SHORT, "-o", tuned)
    result = command(*asked, "--run-dir", tmp_path / "run")
    assert list(result["quality"]) == ["before", "calibrated", "after"]
    again = command(*asked, "--run-dir", tmp_path / "run")  # finished: resumed, not repeated
    assert again["quality"]["after"] == result["quality"]["after"]

    exported = command("export", tuned, "--precision", "int8", "-o", artifact)
    assert any("fine-tuning for 8 bits learned them" in note for note in exported["notes"])
    assert "int8" in convolution_kinds(onnx.load(artifact)).values()
    # The file does what the last validation measured in torch.
    measured = command("eval", artifact)
    assert measured["psnr_y"] == pytest.approx(result["quality"]["after"]["psnr_y"], abs=0.02)
    story = json.dumps(command("explain", artifact))
    assert "int8, uint8 activations" in story
    rows = command("compare", tiny, artifact, "--input", "32x24", "--runs", 2, "--seconds", 0.1)
    assert "int8" in json.dumps(rows)


def test_a_teacher_of_ones_own_and_a_recipe(command, tiny: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "int8.yaml"
    recipe.write_text(
        "data: {folders: [builtin]}\nscales: [2]\niterations: 4\nquantise: {activations: int8}\n"
    )
    tuned = tmp_path / "tuned.safetensors"
    command(
        "finetune", tiny, "--recipe", recipe, "--teacher", tiny, *SHORT, "--eval", "none",
        "-o", tuned, "--run-dir", tmp_path / "run",
    )  # fmt: skip
    assert "teacher: " in (tmp_path / "run" / "recipe.yaml").read_text()
    exported = command("export", tuned, "--precision", "int8", "-o", tmp_path / "t.onnx")
    assert exported["precision"] == "int8"


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        (["--quantise", "int4"], 2, "quantise.precision"),
        (["--quantise", "int8", "--precision", "fp16"], 2, "precision fp32 or bf16"),
        (["--quantise", "int8", "--teacher", "nowhere.safetensors"], 2, "nowhere.safetensors"),
    ],
)
def test_refused(
    refused, tiny: Path, tmp_path: Path, options: list[str], code: int, sentence: str
) -> None:
    out = tmp_path / "tuned.safetensors"
    found, told = refused(
        "finetune", tiny, *options, *SHORT, "--iterations", 2, "--eval", "none", "-o", out,
        "--run-dir", tmp_path / "run",
    )  # fmt: skip
    assert found == code
    assert sentence in told
    assert not out.exists()


def test_training_from_scratch_refuses_the_section(refused, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "network: {arch: ledsr, config: {n_blocks: 1, n_feats: 4}}\ndata: {folders: [builtin]}\n"
        "scales: [2]\niterations: 2\nquantise: {}\n"
    )
    code, told = refused(
        "train", recipe, "-o", tmp_path / "n.safetensors", "--run-dir", tmp_path / "run"
    )
    assert code == 2
    assert "leave the section out" in told
