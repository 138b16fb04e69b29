"""``srdeploy bench sparse``."""

from __future__ import annotations

import pytest

from srdeploy.cli.main import run


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
