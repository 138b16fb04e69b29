"""What is read of an ONNX file before an engine is built of it elsewhere."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from srdeploy.errors import UserError
from srdeploy.exporting.tensorrt.source import EngineSource
from srdeploy.runtime.tensorrt.sidecar import Tensor

IMAGE = [1, 3, "h", "w"]


def written(
    path: Path,
    *,
    inputs: int = 1,
    outputs: int = 1,
    kind: int = TensorProto.FLOAT,
    shape: list[int | str] = IMAGE,
    weights: tuple[int, ...] = (TensorProto.FLOAT,),
) -> Path:
    """A file whose convolutions have weights of these types, and that many ends."""
    nodes = [helper.make_node("Identity", ["lr"], [f"sr{n}"]) for n in range(outputs)]
    stored = []
    for n, type_ in enumerate(weights):
        stored.append(helper.make_tensor(f"w{n}", type_, [3, 3, 1, 1], [0.0] * 9))
        nodes.append(helper.make_node("Conv", ["lr", f"w{n}"], [f"c{n}"], name=f"conv{n}"))
    names = ["lr", *(f"more{n}" for n in range(1, inputs))]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, kind, shape) for name in names],
        [helper.make_tensor_value_info(f"sr{n}", kind, shape) for n in range(outputs)],
        stored,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_what_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.onnx", weights=(TensorProto.FLOAT, TensorProto.FLOAT))
    source = EngineSource.read(path)
    image = {"dtype": "float32", "shape": (1, 3, -1, -1)}
    assert source == EngineSource(
        path, Tensor(name="lr", **image), Tensor(name="sr0", **image), {"fp32": 2}
    )
    assert (source.precision, source.dynamic) == ("fp32", True)


def test_half_and_mixed_precision_and_a_fixed_size(tmp_path: Path) -> None:
    half, whole = TensorProto.FLOAT16, TensorProto.FLOAT
    path = written(tmp_path / "a.onnx", kind=half, shape=[1, 3, 8, 9], weights=(half, whole, half))
    source = EngineSource.read(path)
    assert (source.input.dtype, source.input.shape) == ("float16", (1, 3, 8, 9))
    assert (source.output.name, source.output.dtype) == ("sr0", "float16")
    assert list(source.convolutions.items()) == [("fp16", 2), ("fp32", 1)]
    assert (source.precision, source.dynamic) == ("mixed", False)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"inputs": 2}, r"a\.onnx' does not have one input and one output\.$"),
        ({"outputs": 2}, "does not have one input and one output"),
        ({"shape": [3, "h", "w"]}, r"^'lr' of '.*a\.onnx' is no float image \[N, C, H, W\]\.$"),
        ({"kind": TensorProto.INT32}, "'lr' of .* is no float image"),
    ],
)
def test_other_ends_are_refused(tmp_path: Path, changes: dict, told: str) -> None:
    path = written(tmp_path / "a.onnx", **changes)
    with pytest.raises(UserError, match=told):
        EngineSource.read(path)


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(UserError, match=r"'.*a\.onnx' is no complete ONNX model"):
        EngineSource.read(tmp_path / "a.onnx")
