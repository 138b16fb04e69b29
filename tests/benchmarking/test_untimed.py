"""A package that is interpreted has a quality, never a latency."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.run import bench
from srdeploy.benchmarking.showing.table import group_tables
from srdeploy.data.images import write_png
from srdeploy.exporting.coreml.export import export_coreml
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.measure.scenario import Scenario
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session

pytest.importorskip("coremltools")
QUICK = Scenario(min_runs=2, min_seconds=0.0, warmup_runs=0, warmup_seconds=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    root = tmp_path_factory.mktemp("untimed")
    (root / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48, 3)).astype(np.uint8)
    write_png(root / "images" / "noise.png", pixels)
    network = create("ledsr", n_blocks=1, n_feats=4)
    export_onnx(network, root / "net.onnx", check=False)
    export_coreml(network, root / "net.mlpackage", sizes="16..64")
    return root


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML itself runs here")
def test_quality_without_latency(folder: Path) -> None:
    artifacts = [str(folder / "net.onnx"), str(folder / "net.mlpackage")]
    network, package = bench(artifacts, data=folder / "images", scale=2, scenario=QUICK, threads=1)
    assert package.error is None
    assert package.runtime == "coreml-reference"
    assert package.psnr_y == pytest.approx(network.psnr_y, abs=1e-3)
    assert network.p50_ms is not None
    for figure in (package.p50_ms, package.first_ms, package.load_ms, package.peak_mb):
        assert figure is None
    assert package.n_samples == 0
    assert package.speedup is None
    assert package.note == "coreml-reference: quality only, its speed would mean nothing"
    assert package.note in str(group_tables([network, package])[-1])


def test_latency_alone_is_refused(folder: Path) -> None:
    scenario = QUICK.model_copy(update={"quality": False})
    (row,) = bench(
        [str(folder / "net.mlpackage")],
        data=folder / "images",
        scale=2,
        scenario=scenario,
        runtime="coreml-reference",
    )
    assert row.error is not None
    assert "computes results only, its speed means nothing" in row.error
    assert row.p50_ms is None


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML itself runs here")
def test_what_opens_a_package(folder: Path) -> None:
    with open_session(folder / "net.mlpackage") as session:
        assert session.runtime == "coreml-reference"
