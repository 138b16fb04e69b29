"""``srdeploy zoo`` from the command line."""

from __future__ import annotations

import pytest

from srdeploy.cli.main import run
from srdeploy.models.load import load_network
from srdeploy.util.shipped import shipped_networks


def test_lists_every_shipped_network(command, capsys: pytest.CaptureFixture[str]) -> None:
    rows = command("zoo")
    assert {row["name"] for row in rows} == set(shipped_networks())
    for row in rows:
        network = load_network(row["name"])
        assert row["scale"] == network.card.scale
        assert row["quality"]["Set5"]["psnr_y"] == network.card.quality["Set5"]["psnr_y"]
        assert row["p50_ms"] is None
    order = [(row["scale"], -row["macs_720p"]) for row in rows]
    assert order == sorted(order)
    assert run(["zoo"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in shipped_networks())
    assert "psnr[y, crop=2, u8, matlab]" in text


FEW = ("x2-p50", "x2-p70", "x3-p50", "x3-p70")


@pytest.mark.slow
@pytest.mark.parametrize("ending", [FEW, ("",)])
def test_times_them_here(command, ending: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {name: path for name, path in shipped_networks().items() if name.endswith(ending)}
    monkeypatch.setattr("srdeploy.benchmarking.measuring.zoo.shipped_networks", lambda: chosen)
    quick = ("--input", "32x24", "--runs", "2", "--seconds", "0", "--threads", "1")
    rows = command("zoo", "--time", *quick)
    assert {row["name"] for row in rows} == set(chosen)
    assert len({row["scale"] for row in rows}) > 1
    for row in rows:
        assert row["p50_ms"] > 0
    first = {row["scale"]: row["name"] for row in reversed(rows)}
    assert all((row["speedup"] is None) == (first[row["scale"]] == row["name"]) for row in rows)
