"""What every export tells of its artifact's quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.quality_loss import with_quality
from srdeploy.exporting.run import export
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.fitting import nearest
from srdeploy.runtime.sizes import InputSizes


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return create("ledsr", scale=2, n_blocks=1, n_feats=16)


def test_a_float_artifact_keeps_everything(network: Network, tmp_path: Path) -> None:
    report = export(network, "onnx", tmp_path / "net.onnx")
    assert report.quality is not None
    assert report.quality["psnr_fp32"] == pytest.approx(evaluate(network, "builtin", 2).psnr)
    assert abs(report.quality["drop"]) < 1e-3
    assert any("dB on builtin" in note for note in report.notes)


def test_what_was_measured_in_its_precision_is_not_measured_twice(
    network: Network, tmp_path: Path
) -> None:
    report = export(network, "onnx", tmp_path / "net.onnx", precision="fp16")
    assert sum("dB on builtin" in note for note in report.notes) == 1


@pytest.mark.parametrize("sizes", ["64x48", "64x48,96x64", "64..80"])
def test_packages_of_few_sizes_are_measured_on_cut_images(
    sizes: str, network: Network, tmp_path: Path
) -> None:
    pytest.importorskip("coremltools")
    plain = export(network, "coreml", tmp_path / "a.mlpackage", sizes=sizes)
    coarse = export(network, "coreml", tmp_path / "b.mlpackage", sizes=sizes, palettize=2)
    for report in (plain, coarse):
        assert report.quality is not None
        assert np.isfinite(report.quality["psnr"])
    assert abs(plain.quality["drop"]) < 1e-3
    assert coarse.quality["psnr_fp32"] == pytest.approx(plain.quality["psnr_fp32"])
    assert abs(coarse.quality["drop"]) > 1e-3  # of random weights it may be a gain


def test_what_cannot_run_here_says_so(network: Network, tmp_path: Path) -> None:
    report = export_onnx(network, tmp_path / "net.onnx")
    (tmp_path / "net.onnx").write_bytes(b"gone")
    told = with_quality(report, network)
    assert told.quality is None
    assert told.notes[-1].startswith("not measured on builtin: ")


def test_sizes_that_no_upscaled_image_has(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    luma = create("vdsr", n_layers=2, n_feats=4)
    report = export(luma, "coreml", tmp_path / "x.mlpackage", sizes="33x24")
    assert report.quality is None
    assert report.notes[-1] == "not measured on builtin: no image upscaled by 2 is 33x24"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("64x48", (48, 64)), ("64x48,200x100", (100, 200)), ("64..100", (100, 100))],
)
def test_the_nearest_size(text: str, expected: tuple[int, int]) -> None:
    assert nearest(InputSizes.parse(text), 120, 180) == expected
