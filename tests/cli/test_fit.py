"""``srdeploy fit``: the best network for a device and a budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.fitting.conftest import ARITHMETIC

SIZE = ("--input", "48x32", "--network-wise", 0)


@pytest.mark.usefixtures("small_builtin")
def test_the_folder_and_the_page_are_written(
    tiny: Path, small_images: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "fitted"
    asked = ("--device", ARITHMETIC, "--budget", "0.8ms", "--precision", "fp32,int8", "-o", out)
    where = ("--store", tmp_path / "times.sqlite", "--calibration", small_images)
    (found,) = command("fit", tiny, *SIZE, *asked, *where)
    assert found == json.loads((out / "fit.json").read_text())
    assert found["p50_ms"] <= found["budget_ms"] == 0.8
    assert {point["precision"] for point in found["points"]} == {"fp32", "int8"}
    assert "Fitted to a budget" in (out / "report.html").read_text()


@pytest.mark.slow
def test_this_machine_is_a_device(tiny: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "fitted"
    ways = ("--runtime", "onnxruntime", "--precision", "fp32,int8", "--budget", "10s", "-o", out)
    (found,) = command("fit", tiny, *SIZE, *ways, "--store", tmp_path / "times.sqlite")
    assert found["met"]
    assert found["precision"] == "fp32"
    assert found["widths"] == found["dense_widths"]


def test_what_cannot_be_fitted_is_one_sentence(
    tiny: Path, tmp_path: Path, refused: Command
) -> None:
    file = tmp_path / "file"
    file.touch()
    for words, told in (
        ((), "--budget 33ms"),
        (("--budget", "33ms", "--fps", 30), "either"),
        (("--budget", "33"), "no duration"),
        (("--budget", "0ms"), "no duration"),
        (("--budget", "9ms", "--recover", "soon"), "--recover"),
        (("--budget", "9ms", "--runtime", "torch"), "ONNX files"),
        (("--budget", "9ms", "--precision", "mixed"), "mixed"),
        (("--budget", "9ms", "-o", file), "is a file"),
    ):
        code, sentence = refused("fit", tiny, *SIZE, "-o", tmp_path / "out", *words, "--fresh")
        assert (code, told in sentence) == (2, True), sentence
