from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.measuring.run import bench
from srdeploy.benchmarking.showing.table import group_tables
from srdeploy.data.images import write_png
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.measure import process
from srdeploy.measure.scenario import Scenario
from srdeploy.models.count import count
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.util.files import sha256

QUICK = Scenario(
    name="test", warmup_runs=1, warmup_seconds=0, min_runs=6, min_seconds=0.05, turn_seconds=0.01
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks of very different size, one in two formats, and a benchmark set."""
    root = tmp_path_factory.mktemp("bench")
    wide = create("ledsr", n_blocks=3, n_feats=48)
    export_onnx(wide, root / "wide.onnx")
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), root / "thin.onnx")
    save_network(wide, root / "wide.safetensors")
    (root / "broken.onnx").write_bytes(b"no network")
    generator = np.random.default_rng(0)
    for name in "abc":
        image = generator.integers(0, 256, (48, 64, 3), np.uint8)
        write_png(root / "images" / f"{name}.png", image)
    return root


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Row]:
    """One run over everything, the failure included."""
    names = ("wide.onnx", "thin.onnx", "broken.onnx", "wide.safetensors")
    arrived: list[Row] = []
    rows = bench(
        [str(folder / name) for name in names],
        data=folder / "images",
        scale=2,
        scenario=QUICK,
        threads=1,
        journal=folder / "journal.jsonl",
        on_row=arrived.append,
    )
    assert arrived == rows
    assert [row.artifact for row in rows] == list(names)
    return rows


def test_figures(rows: list[Row], folder: Path) -> None:
    wide, thin, _, torch = rows
    for row in (wide, thin, torch):
        assert row.error is None
        assert row.n_samples == len(row.samples_ms) == sum(row.turns) >= 6
        assert sum(row.samples_ms) >= 50
        assert row.p50_ms == pytest.approx(np.median(row.samples_ms), abs=1e-3)
        assert row.first_ms is not None
        assert row.first_ms not in row.samples_ms
        assert row.peak_mb is not None
        assert row.peak_mb > 20
        assert (row.threads, row.scale, row.lr_size) == (1, 2, (24, 32))
        assert row.input == (1, 3, 24, 32)
        assert row.n_images == 3
        assert row.protocol == "psnr[y, crop=2, u8, matlab]"
        assert row.sha256 == sha256(folder / row.artifact)
    assert (wide.runtime, torch.runtime) == ("onnxruntime", "torch")
    assert wide.peak_mb is not None
    assert torch.peak_mb is not None
    assert wide.peak_mb < torch.peak_mb  # torch is not loaded to run ONNX
    counts = count(create("ledsr", n_blocks=3, n_feats=48))
    assert (wide.params, wide.macs_720p) == (counts.params, counts.macs_720p)
    assert (torch.params, torch.macs_720p) == (counts.params, counts.macs_720p)


def test_formats_agree_on_quality(rows: list[Row]) -> None:
    wide, thin, _, torch = rows
    assert wide.psnr_y == pytest.approx(torch.psnr_y, abs=1e-3)
    assert wide.psnr_y != pytest.approx(thin.psnr_y, abs=1e-3)


def test_speedup_refers_to_the_first(rows: list[Row]) -> None:
    wide, thin, _, _ = rows
    assert wide.speedup is None
    assert thin.speedup is not None
    assert thin.speedup_low is not None
    assert thin.speedup_high is not None
    assert thin.speedup_low <= thin.speedup <= thin.speedup_high
    assert thin.speedup > 3


def test_failure_has_its_row(rows: list[Row]) -> None:
    broken = rows[2]
    assert broken.error is not None
    assert broken.error.startswith("broken.onnx: '")
    assert "is not an ONNX file" in broken.error
    assert broken.n_samples == 0
    assert broken.sha256 is not None


def test_journal_holds_every_turn_and_row(rows: list[Row], folder: Path) -> None:
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert events[0]["event"] == "start"
    turns = [e for e in events if e["event"] == "turn"]
    first = [sample for e in turns if e["artifact"] == 0 for sample in e["samples_ms"]]
    assert first == pytest.approx(rows[0].samples_ms, abs=1e-3)
    assert [e["artifact"] for e in turns[:6]] == [0, 1, 3, 3, 1, 0]
    stored = [e for e in events if e["event"] == "row"]
    for event, row in zip(stored, rows, strict=True):
        del event["event"]
        assert Row.model_validate(event) == row


def test_rows_name_no_folder(rows: list[Row], folder: Path) -> None:
    for row in rows:
        if row.error is None:
            assert str(folder) not in row.model_dump_json()


@pytest.mark.parametrize("width", [80, 200])
def test_table(width: int, rows: list[Row]) -> None:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(*group_tables(rows, everything=True), sep="\n")
    text = console.export_text()
    wide, thin, _, torch = rows
    assert "x2, LR 32x24, 1 thread" in text
    assert "quality: psnr[y, crop=2, u8, matlab]" in text
    assert "broken.onnx: '" in text
    assert f"{thin.speedup:.2f}" in text
    assert f"{thin.speedup_low:.2f}-{thin.speedup_high:.2f}" in text
    for row in (wide, thin, torch):
        assert f"{row.psnr_y:.2f}" in text
        assert f"{row.params / 1e3:.0f}K" in text
    assert "…" not in text  # nothing is cut off


def test_all_that_a_board_tells_fits_80_columns(rows: list[Row]) -> None:
    told = {"compute_p50_ms": 123.4, "drift": 1.04, "drift_low": 1.01, "drift_high": 1.06}
    told |= {"power_w": 14.25, "energy_mj": 1758.0, "power_source": "VDD_IN"}
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    board = [row.model_copy(update=told) for row in rows]
    console.print(*group_tables(board, everything=True), sep="\n")
    text = console.export_text()
    for figure in ("123.4", "1.04", "1.01-1.06", "14.2", "1758", "power: VDD_IN"):
        assert figure in text
    assert f"{rows[0].psnr_y:.2f}" in text
    assert "…" not in text


def test_columns_without_a_figure_are_left_out(rows: list[Row]) -> None:
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    alone = rows[0].model_copy(update={"psnr_y": None, "ssim_y": None, "protocol": None})
    console.print(*group_tables([alone]), sep="\n")
    text = console.export_text()
    assert "p50" in text
    for absent in ("PSNR", "SSIM", "faster", "drift", "compute"):
        assert absent not in text


def test_fixed_input_without_quality(folder: Path) -> None:
    scenario = QUICK.model_copy(update={"inputs": ((16, 40),), "quality": False, "batch": 2})
    (row,) = bench(
        [str(folder / "thin.onnx")], data="builtin", scale=2, scenario=scenario, threads=1
    )
    assert row.input == (2, 3, 16, 40)
    assert row.psnr_y is None
    assert row.protocol is None


DIES_AT_ITS_THIRD_TURN = """
import os
from srdeploy.measure import worker

class Mortal(worker.Worker):
    turns = 0

    def handle(self, request):
        self.turns += request["do"] == "turn"
        if self.turns == 3:
            os._exit(7)
        return super().handle(request)

worker.Worker = Mortal
worker.main()
"""


def test_a_worker_that_dies_costs_only_its_own_row(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = process.WorkerProcess.__init__
    started: list[int] = []

    def second_is_mortal(self: process.WorkerProcess, threads: int, timeout: float) -> None:
        started.append(1)
        mortal = (sys.executable, "-c", DIES_AT_ITS_THIRD_TURN)
        start(self, threads, timeout, mortal if len(started) == 2 else process.COMMAND)

    monkeypatch.setattr(process.WorkerProcess, "__init__", second_is_mortal)
    artifact = str(folder / "thin.onnx")
    scenario = QUICK.model_copy(update={"min_seconds": 0.2, "quality": False})
    alive, dead, also_alive = bench(
        [artifact] * 3, data=folder / "images", scale=2, scenario=scenario, threads=1
    )
    assert dead.error == "thin.onnx: its process died during 'turn' (exit code 7)."
    assert len(dead.turns) == 2
    assert dead.speedup is not None  # what was measured is kept
    for row in (alive, also_alive):
        assert row.error is None
        assert sum(row.samples_ms) >= 200


def test_wrong_scale_is_the_artifacts_own_failure(folder: Path) -> None:
    (row,) = bench([str(folder / "thin.onnx")], data=folder / "images", scale=3, scenario=QUICK)
    assert row.error is not None
    assert "upscales by x2, not by x3" in row.error


def test_nothing_to_measure_or_nothing_to_measure_on(folder: Path) -> None:
    with pytest.raises(UserError, match="nothing to measure"):
        bench([], data="builtin", scale=2)
    with pytest.raises(UserError):
        bench([str(folder / "thin.onnx")], data=folder / "absent", scale=2)


def test_bicubic_has_no_latency() -> None:
    with pytest.raises(UserError, match="srdeploy eval"):
        bench(["bicubic"], data="builtin", scale=2)
