"""A runtime that chooses while it runs says what it chose, in `eval` and in `bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from srdeploy.cli.main import run
from srdeploy.models.registry import create
from srdeploy.models.store import save_network


@pytest.fixture
def smsr(tmp_path: Path) -> str:
    network = create("smsr", scale=2, n_modules=1, n_layers=2, n_feats=8)
    save_network(network, tmp_path / "smsr.safetensors")
    return str(tmp_path / "smsr.safetensors")


def test_eval(smsr: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--quiet", "eval", smsr, "--runtime", "sparse", "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("masked layers computed" in remark for remark in notes)


def test_bench(smsr: str, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--input", "24x16", "--runs", "1", "--seconds", "0", "--no-quality"]
    assert run(["--quiet", "bench", smsr, "--runtime", "sparse", *quick, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert "masked layers computed" in row["note"]
