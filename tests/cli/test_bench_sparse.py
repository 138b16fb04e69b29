"""``srdeploy bench sparse``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from srdeploy.cli.main import run


def test_chart_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chart = tmp_path / "chart.svg"
    command = ["bench", "sparse", "--sides", "8,16", "--repeats", "1", "--kernel", "torch"]
    assert run([*command, "--threads", "1", "-o", str(chart), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["side"] for one in found["sizes"]] == [8, 16]
    assert all(0 <= one["pays_below"] <= 1 for one in found["sizes"])
    assert all(ms > 0 for one in found["sizes"] for ms in one["rows_ms"])
    assert chart.read_text(encoding="utf-8").count("<polyline") == 3


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--sides", "8,x"], "list of sizes"),
        (["--sides", "4"], "too small"),
        (["--kernel", "nativ"], "native"),
        (["edsr-s-x2", "--sides", "8"], "SMSR"),
        (["-o", "chart.png"], ".svg"),
    ],
)
def test_bad_requests(options: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "sparse", *options]) == 2
    assert word in capsys.readouterr().err
