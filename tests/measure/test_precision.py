"""What really ran, read back from onnxruntime; on a CPU without fp16 convolutions it differs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from srdeploy.measure.precision import precision_of, ran_in


def convolution(path: Path, dtype: int) -> Path:
    """One convolution, 3 to 3 channels."""
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    weights = numpy_helper.from_array(np.ones((3, 3, 3, 3), kind), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    ends = [helper.make_tensor_value_info(n, dtype, [1, 3, "h", "w_"]) for n in "xy"]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def test_fp32(tmp_path: Path) -> None:
    path = convolution(tmp_path / "a.onnx", TensorProto.FLOAT)
    assert ran_in(path) == "fp32"
    assert precision_of(path, "onnxruntime") == "fp32"


def test_fp16_is_what_the_processor_made_of_it(tmp_path: Path) -> None:
    path = convolution(tmp_path / "a.onnx", TensorProto.FLOAT16)
    assert ran_in(path) in ("fp16", "fp32")


@pytest.mark.parametrize(("runtime", "expected"), [("torch", "fp32"), ("litert", None)])
def test_other_runtimes(runtime: str, expected: str | None) -> None:
    assert precision_of("anything", runtime) == expected


def test_a_file_that_does_not_run_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no onnx")
    assert precision_of(tmp_path / "a.onnx", "onnxruntime") is None
