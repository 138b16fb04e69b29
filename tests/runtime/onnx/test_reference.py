"""bf16 graphs in float32: what each result is rounded to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from srdeploy.errors import UserError
from srdeploy.runtime.onnx.reference import OnnxReferenceSession, widen

FLOAT, BF16 = TensorProto.FLOAT, TensorProto.BFLOAT16


def rounded(x: np.ndarray) -> np.ndarray:
    """To bfloat16, half to even."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def bf16(name: str, values: np.ndarray) -> TensorProto:
    return helper.make_tensor(name, BF16, values.shape, values.flatten().tolist())


def model(nodes: list, weights: list, kind: int = FLOAT) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(n, kind, [1, 3, "h", "w"]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    opset = helper.make_opsetid("", 22)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def convolutions() -> onnx.ModelProto:
    """bf16, bf16, then float32 behind casts, with a constant of each kind."""
    chance = np.random.default_rng(0)
    w1, w2, w3 = (chance.normal(size=(3, 3, 1, 1)).astype(np.float32) for _ in range(3))
    third = bf16("", np.array([1 / 3], np.float32))
    return model(
        [
            helper.make_node("Cast", ["x"], ["x16"], to=BF16),
            helper.make_node("Conv", ["x16", "w1"], ["a"]),
            helper.make_node("Constant", [], ["third"], value=third),
            helper.make_node("Mul", ["a", "third"], ["b"]),
            helper.make_node("Conv", ["b", "w2"], ["c"]),
            helper.make_node("Cast", ["c"], ["d"], to=FLOAT),
            helper.make_node("Conv", ["d", "w3"], ["y"]),
        ],
        [bf16("w1", w1), bf16("w2", w2), numpy_helper.from_array(w3, "w3")],
    )


def test_every_result_is_rounded_once() -> None:
    made = convolutions()
    wide = widen(made)
    onnx.checker.check_model(wide)
    kinds = {tensor.name: tensor.data_type for tensor in wide.graph.initializer}
    assert set(kinds.values()) == {FLOAT}
    assert {v.type.tensor_type.elem_type for v in (*wide.graph.input, *wide.graph.output)} == {
        FLOAT
    }
    assert not wide.graph.value_info
    assert made.graph.initializer[0].data_type == BF16  # what was given stays

    x = np.random.default_rng(1).normal(size=(1, 3, 2, 2)).astype(np.float32)
    names = {out for node in wide.graph.node for out in node.output}
    assert {"x16", "x16/wide", "x16/bf16", "a/wide", "c/wide"} <= names
    assert "d/wide" not in names
    assert "y/wide" not in names
    session = ort.InferenceSession(wide.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["y"], {"x": x})

    w = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in made.graph.initializer}
    conv = lambda image, name: np.einsum("oi,nihw->nohw", w[name][..., 0, 0], image)  # noqa: E731
    a = rounded(conv(rounded(x), "w1"))
    b = rounded(a * rounded(np.array([1 / 3])))
    d = rounded(conv(b, "w2"))
    np.testing.assert_allclose(found, conv(d, "w3"), rtol=1e-5)


def test_ends_in_bfloat16_become_float32() -> None:
    wide = widen(model([helper.make_node("Relu", ["x"], ["y"])], [], BF16))
    session = ort.InferenceSession(wide.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.full((1, 3, 1, 1), 1.0 + 2**-12, np.float32)
    (found,) = session.run(["y"], {"x": x})
    np.testing.assert_array_equal(found, np.ones_like(x))


def test_types_that_cannot_be_told() -> None:
    nodes = [helper.make_node("Cast", ["x"], ["x16"], to=BF16),
             helper.make_node("Add", ["x16", "x"], ["y"])]  # fmt: skip
    with pytest.raises(UserError, match="types of the ONNX graph cannot be told") as caught:
        widen(model(nodes, []))
    assert len(str(caught.value)) < 300


def test_precisions_are_those_of_convolutions_by_number(tmp_path: Path) -> None:
    onnx.save(convolutions(), tmp_path / "a.onnx")
    with OnnxReferenceSession(tmp_path / "a.onnx", value_range=1.0, scale=2) as session:
        assert session.precision == "bf16+fp32"
        assert session.runtime == "onnx-reference"
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], []), tmp_path / "b.onnx")
    with OnnxReferenceSession(tmp_path / "b.onnx", value_range=1.0, scale=2) as session:
        assert session.precision is None
    (tmp_path / "c.onnx").write_bytes(b"hello, hello")
    with pytest.raises(UserError, match=r"'.*c\.onnx' is no ONNX file, or a truncated one"):
        OnnxReferenceSession(tmp_path / "c.onnx", value_range=1.0)
