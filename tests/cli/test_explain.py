"""``srdeploy explain`` from the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from srdeploy.cli.main import run


def test_a_shipped_network(command, capsys: pytest.CaptureFixture[str]) -> None:
    story = command("explain", "edsr-s-x2")
    assert story["chapters"][0]["step"] == "train"
    assert run(["explain", "edsr-s-x2"]) == 0
    text = capsys.readouterr().out
    assert story["weights_sha256"] in text
    assert "  1. train: 24000 iterations of recipe" in text


def test_nothing_to_explain(refused, tmp_path: Path) -> None:
    assert refused("explain", tmp_path / "x.onnx") == (
        2, f"srdeploy: There is no file '{tmp_path / 'x.onnx'}'.",
    )  # fmt: skip


def test_export_and_explain_tell_one_figure(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of float32 the tolerance that held, of 8 bits what is lost in dB; never a single pixel's."""

    def told(*words: object) -> str:
        capsys.readouterr()
        assert run([*map(str, words)]) == 0
        return " ".join(capsys.readouterr().out.split())

    plain, small = tmp_path / "net.onnx", tmp_path / "int8.onnx"
    equal = "equal to PyTorch within 0.0001 of the value range"
    assert equal in told("export", tiny, "-o", plain)
    assert equal in told("explain", plain)
    exported = told("export", tiny, "--precision", "int8", "-o", small)
    lost = re.search(r"(loses|gains) \d\.\d{3} dB on builtin: psnr\[y[^]]*\] [^(]* now", exported)
    assert lost is not None
    for text in (exported, told("explain", small)):
        assert lost[0] in text
        assert "the picture that PyTorch makes, but for rounding to int8" in text
        assert "value range (" not in text


def test_a_story_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["explain", "edsr-s-x2-p50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines if "sha256" not in line)
