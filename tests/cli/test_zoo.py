"""What ``srdeploy zoo`` prints, with its latencies and without."""

from __future__ import annotations

import json

import pytest

from srdeploy.benchmarking.measuring.zoo import Shipped
from srdeploy.cli import zoo
from srdeploy.runtime.cpu import cpu_model
from tests.cli.reach import calls, exit_code


def test_what_zoo_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    set5 = {"psnr_y": 37.987, "ssim_y": 0.96054, "protocol": "psnr[y]"}
    one = Shipped("one", 2, 1_500_000, 2 * 10**9, 6500, {"Set5": set5, "builtin": {}})
    two = Shipped("two", 2, 1500, 10**6, 400, {}, p50_ms=12.34, speedup=1.234)
    replaced = {
        "srdeploy.benchmarking.measuring.zoo:shipped": [one, two],
        "srdeploy.benchmarking.measuring.zoo:timed": [one, two],
    }
    calls("zoo", replaced)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == ["network", "params", "MACs", "720p", "KB", "Set5"]
    assert ["one", "1.50M", "2.0G", "6", "37.99", "/", "0.9605"] in lines
    assert ["two", "1.5K", "1.00M", "0", "-"] in lines
    assert lines[-1] == ["PSNR-Y", "dB", "/", "SSIM:", "psnr[y]"]
    calls("zoo --time --threads 1 --input 32x24", replaced)
    text, _, notes = capsys.readouterr().out.partition("\nms: ")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["network", "params", "MACs", "720p", "KB", "Set5", "ms", "faster"]
    assert ["one", "1.50M", "2.0G", "6", "37.99", "-", "-"] in lines
    assert ["two", "1.5K", "1.00M", "0", "-", "12.3", "1.23"] in lines
    assert lines[-1] == ["PSNR-Y", "dB:", "psnr[y]"]
    assert max(map(len, notes.splitlines())) <= 80
    notes = " ".join(notes.split())
    assert notes.startswith("p50 in onnxruntime, LR 32x24, 1 thread, on ")
    assert " ".join(cpu_model().split()) in notes
    assert "median of the ratios of neighbouring turns; load that comes and goes moves" in notes


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    one = Shipped("one", 2, 1500, 10**6, 400, {})
    replaced = {
        "srdeploy.benchmarking.measuring.zoo:shipped": [one],
        "srdeploy.benchmarking.measuring.zoo:timed": [],
    }
    assert "timed.rows" not in calls("zoo --json", replaced)
    assert json.loads(capsys.readouterr().out)[0]["name"] == "one"
    assert calls("zoo --time --json", replaced)["timed.rows"]
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("words", ["--input 32x24", "--runs 1", "--seconds 1", "--threads 1"])
def test_how_to_measure_needs_a_measurement(words: str) -> None:
    replaced = {
        "srdeploy.benchmarking.measuring.zoo:shipped": [],
        "srdeploy.benchmarking.measuring.zoo:timed": [],
    }
    assert exit_code(f"zoo {words}", replaced) == 2
    assert exit_code(f"zoo --time {words}", replaced) == 0


def test_cells_have_room_for_ssim_or_latency() -> None:
    figures = {"psnr_y": 37.987, "ssim_y": 0.96054}
    assert zoo._quality(figures, ssim=True) == "37.99 / 0.9605"
    assert zoo._quality(figures, ssim=False) == "37.99"
    assert zoo._quality(None, ssim=True) == "-"
