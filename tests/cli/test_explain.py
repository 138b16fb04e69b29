"""``srdeploy explain`` from the command line."""

from __future__ import annotations

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
