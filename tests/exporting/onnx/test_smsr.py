"""SMSR's two forms in ONNX, and what targets make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from srdeploy.errors import UserError
from srdeploy.exporting.run import export
from srdeploy.models.network import Network
from srdeploy.models.registry import create, describe
from srdeploy.runtime.onnx.session import OnnxSession
from tests.sparse import nets

pytestmark = pytest.mark.usefixtures("one_way")


def network(**case: object) -> Network:
    module = nets.network(**case)  # type: ignore[arg-type]
    config = {
        **{"scale": module.scale, "n_modules": 2, "n_layers": 3, "n_feats": 12},
        **{"mask_feats": 4, "reduction": 4, "mean_shift": True, "value_range": 255.0},
    }
    return describe(module, "smsr", config)


def set_threshold(path: Path, below: float) -> None:
    """Make every module gather (2) or none (-1)."""
    model = onnx.load(path)
    (tensor,) = [t for t in model.graph.initializer if t.name == "sparse_below"]
    tensor.CopyFrom(numpy_helper.from_array(np.array(below, np.float32), "sparse_below"))
    onnx.save(model, path)


@pytest.mark.parametrize(
    "case",
    [
        {"density": 0.3},
        {"density": 0.0},
        {"density": 1.0, "dense": (0, 0, 0)},
        {"dense": (0, 12, 4), "scale": 3},
        {"dense": (12, 12, 12)},
    ],
    ids=str,
)
def test_both_branches_equal_torch(case: dict, tmp_path: Path) -> None:
    made = network(**case)
    path = tmp_path / "sparse.onnx"
    report = export(made, "onnx", path, sparse=True)
    assert report.operators["If"] == 2
    assert any("inside its mask" in note for note in report.notes)
    for below in (2.0, -1.0):
        set_threshold(path, below)
        with OnnxSession(path, threads=1) as session:
            for size in ((24, 26, 2), (13, 9, 1)):
                x = nets.image(*size)
                with torch.inference_mode():
                    expected = made.module(x).numpy()
                assert float(np.abs(session.run(x.numpy()) - expected).max()) < 0.01


def test_branches_hold_what_they_say(tmp_path: Path) -> None:
    path = tmp_path / "sparse.onnx"
    export(network(), "onnx", path, sparse=True)
    for node in onnx.load(path).graph.node:
        if node.op_type != "If":
            continue
        then, otherwise = (
            {inner.op_type for inner in attribute.g.node}
            for name in ("then_branch", "else_branch")
            for attribute in node.attribute
            if attribute.name == name
        )
        assert {"NonZero", "Gather", "MatMul", "ScatterND"} <= then
        assert not {"NonZero", "MatMul", "ScatterND"} & otherwise


def test_dense_masks_are_static_and_accepted(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="pip install 'srdeploy[trt-rtx]'")
    path = tmp_path / "dense.onnx"
    report = export(network(), "onnx", path, sparse=False, accept="trt")
    assert not {"NonZero", "If", "ScatterND"} & set(report.operators)
    assert any("accepted" in note for note in report.notes)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_engines_of_the_dense_form(precision: str, tmp_path: Path) -> None:
    """Transposed convolutions in the masks, sums within the body: all that TensorRT is given."""
    pytest.importorskip("tensorrt_rtx", reason="pip install 'srdeploy[trt-rtx]'")
    path = tmp_path / "x.engine"
    report = export(
        network(), "trt-rtx", path, precision=precision, sizes="24x16", capabilities=("8.9",)
    )
    assert report.bytes == path.stat().st_size > 10_000


def test_coreml_gets_the_dense_form(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    report = export(network(), "coreml", tmp_path / "x.mlpackage", sparse=True, sizes="24x16")
    assert report.parity is not None
    assert report.parity.relative < 1e-4
    assert any("cannot take the sparse form" in note for note in report.notes)


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="SMSR"):
        export(create("edsr", n_blocks=1, n_feats=4), "onnx", tmp_path / "x.onnx", sparse=True)
    with pytest.raises(UserError, match="fp32"):
        export(network(), "onnx", tmp_path / "x.onnx", sparse=True, precision="fp16")
    with pytest.raises(UserError, match="TensorRT reads no sparse form"):
        export(network(), "onnx", tmp_path / "x.onnx", sparse=True, accept="trt")
    assert not list(tmp_path.iterdir())
