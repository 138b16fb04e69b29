"""SMSR in Core ML: masks in every size, precision and compression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from srdeploy.exporting.probe import run_torch
from srdeploy.exporting.run import export
from srdeploy.models.load import load_network
from srdeploy.models.probes import photograph
from srdeploy.models.registry import create
from srdeploy.runtime.coreml.reference import CoremlReferenceSession
from tests.exporting.onnx.test_smsr import network

pytest.importorskip("coremltools", reason="pip install 'srdeploy[coreml]'")

pytestmark = pytest.mark.usefixtures("one_way")


@pytest.mark.parametrize("sizes", [None, "17..40", "23x17", "23x17,24x40"])
def test_odd_sizes_and_ranges(sizes: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.mlpackage"
    report = export(network(density=0.4), "coreml", path, sizes=sizes)
    assert report.parity is not None
    assert report.parity.relative < 1e-4
    x = photograph(network().card, (17, 23))
    with CoremlReferenceSession(path) as session:
        assert session.program.is_sized == (sizes == "23x17")
        found = session.run(x)
    np.testing.assert_allclose(found, run_torch(network(density=0.4), x), atol=1e-2)


@pytest.mark.parametrize("sizes", ["32x24", "16..64"])
@pytest.mark.parametrize("quantize", ["a8", "w8a8"])
def test_quantised(quantize: str, sizes: str, tmp_path: Path) -> None:
    """Two convolutions of each module read the same features, which are quantised once."""
    torch.manual_seed(0)
    larger = create("smsr", n_modules=1, n_layers=3, n_feats=16)
    report = export(larger, "coreml", tmp_path / "x.mlpackage", quantize=quantize, sizes=sizes)
    (told,) = [note for note in report.notes if note.startswith("8-bit activations")]
    assert int(told.split()[4]) > report.operators["dequantize"] > 2
    assert report.quality is not None
    assert abs(report.quality["drop"]) < 0.5


def test_a_network_without_sparse_channels(tmp_path: Path) -> None:
    """Nothing is masked, so no mask is computed."""
    whole = network(dense=(12, 12, 12))
    report = export(whole, "coreml", tmp_path / "x.mlpackage", sizes="24x16")
    assert report.parity is not None
    assert report.parity.relative < 1e-4
    assert "greater" not in report.operators


@pytest.mark.slow
def test_published_weights_in_half_precision(shared_data: Path, tmp_path: Path) -> None:
    published = load_network(shared_data / "weights" / "smsr" / "SMSR_X2_model_1000.pt")
    report = export(published, "coreml", tmp_path / "x.mlpackage", precision="fp16")
    assert report.quality is not None
    assert abs(report.quality["drop"]) < 0.01
