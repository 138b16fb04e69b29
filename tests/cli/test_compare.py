"""``srdeploy compare`` from the command line: a network, its ONNX and a stranger."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from srdeploy.data.images import write_png
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.load import load_network


def test_latency_quality_and_parity_in_one(command, tiny: Path, tmp_path: Path) -> None:
    export_onnx(load_network(tiny), tiny.with_suffix(".onnx"), check=False)
    (tmp_path / "set").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    write_png(tmp_path / "set" / "a.png", pixels)
    first, second = command(
        "compare", tiny, tiny.with_suffix(".onnx"), "--data", tmp_path / "set",
        "--runs", 1, "--seconds", 0, "--threads", 1,
    )  # fmt: skip
    assert first["parity"] is None
    assert first["p50_ms"] > 0 < second["p50_ms"]
    assert second["parity"]["levels"] < 1e-2
    assert abs(second["parity"]["psnr_drop_db"]) < 1e-3
    assert second["parity"]["divergence"] is None


def test_one_artifact_is_refused(refused, tiny: Path) -> None:
    assert refused("compare", tiny) == (
        2, "srdeploy: One artifact compares with nothing; name two or more.",
    )  # fmt: skip
