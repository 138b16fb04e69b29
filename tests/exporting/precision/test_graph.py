"""Graphs as layers: names, sums, ReLUs that belong to a layer, and what is stored in which type."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from srdeploy.errors import SrdeployError
from srdeploy.exporting.precision.cast import narrow, tensor_types
from srdeploy.exporting.precision.fp16 import Audit, audit_ranges, audit_rows, to_half
from srdeploy.exporting.precision.graph import (
    constant,
    convolution_kinds,
    drop_unread,
    layers_of,
    readers_of,
    store,
    with_outputs,
)

W = np.random.default_rng(0).normal(size=(3, 3, 1, 1)).astype(np.float32)
B = np.array([1, 2, 3], np.float32)


def model(nodes: list, stored: dict[str, np.ndarray]) -> onnx.ModelProto:
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, "h", "w"]) for n in ("lr", "sr")
    ]
    tensors = [numpy_helper.from_array(values, name) for name, values in stored.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(operator: str, inputs: list[str], out: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [out], name=f"/{out}/{operator}", **attributes)


def network() -> onnx.ModelProto:
    """A head, a body (of shared weights), a sum, a constant added, and the end."""
    return model(
        [
            node("Conv", ["lr", "head.weight", "head.bias"], "h"),
            node("Relu", ["h"], "r"),
            node("Conv", ["r", "head.weight"], "a"),
            node("ConvTranspose", ["a", "up.weight", "shared.bias"], "u"),
            node("Relu", ["u"], "v"),
            node("Add", ["v", "r"], "s"),
            node("Add", ["s", "one"], "t"),
            node("Mul", ["u", "t"], "m"),
            node("Conv", ["m", "tail.weight", "tail.bias"], "e"),
            node("Relu", ["e"], "sr"),
        ],
        {
            "head.weight": W, "head.bias": B, "up.weight": W, "shared.bias": B,
            "one": np.float32(1), "tail.weight": W * 2, "tail.bias": B,
        },
    )  # fmt: skip


def test_layers_in_order() -> None:
    found = layers_of(network())
    assert [(layer.name, layer.operator, layer.is_sum) for layer in found] == [
        ("head", "Conv", False),
        ("/a/Conv", "Conv", False),  # the weights' name is the head's already
        ("shared", "ConvTranspose", False),  # the bias comes first
        ("/s/Add", "Add", True),
        ("tail", "Conv", False),
    ]
    head, second, up, total, tail = found
    assert (head.result, head.output) == ("h", "r")  # the ReLU alone reads it
    assert (head.inputs, head.weight, head.bias, head.node) == (
        ("lr",), "head.weight", "head.bias", "/h/Conv",
    )  # fmt: skip
    assert (second.result, second.output, second.bias) == ("a", "a", "")
    assert (up.result, up.output) == ("u", "u")  # something else reads it, too
    assert (total.inputs, total.weight, total.output) == (("v", "r"), "", "s")
    assert (tail.result, tail.output) == ("e", "sr")


def test_a_relu_behind_the_output_is_none_of_the_layers() -> None:
    made = model([node("Conv", ["lr", "w.weight"], "sr"), node("Relu", ["sr"], "unread")],
                 {"w.weight": W})  # fmt: skip
    (layer,) = layers_of(made)
    assert layer.output == "sr"
    computed = model([node("Conv", ["lr", "lr"], "sr")], {})
    assert layers_of(computed) == []
    with pytest.raises(SrdeployError, match="precision of '/sr/Conv' cannot be read: its weights"):
        convolution_kinds(computed)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(TensorProto.FLOAT, "fp32"), (TensorProto.FLOAT16, "fp16"), (TensorProto.BFLOAT16, "bf16")],
)
def test_kinds_are_those_of_the_weights(kind: int, name: str) -> None:
    made = model([node("Conv", ["lr", "w"], "sr")], {})
    made.graph.initializer.append(helper.make_tensor("w", kind, [3, 3, 1, 1], W.ravel().tolist()))
    assert convolution_kinds(made) == {"/sr/Conv": name}


@pytest.mark.parametrize(("image", "kind"), [("x", "int8"), ("lr", "fp32"), ("r", "fp32")])
def test_a_convolution_is_8_bits_where_both_its_sides_are(image: str, kind: str) -> None:
    made = model(
        [
            node("Relu", ["lr"], "r"),
            node("QuantizeLinear", ["lr", "s", "z"], "q"),
            node("DequantizeLinear", ["q", "s", "z"], "x"),
            node("DequantizeLinear", ["w8", "s", "z8"], "w"),
            node("Conv", [image, "w"], "sr"),
        ],
        {"s": np.float32(1), "z": np.uint8(0), "w8": W.astype(np.int8), "z8": np.int8(0)},
    )
    assert convolution_kinds(made) == {"/sr/Conv": kind}


def test_parts_of_a_graph() -> None:
    made = network()
    readers = readers_of(made.graph)
    assert [n.name for n in readers["r"]] == ["/a/Conv", "/s/Add"]
    assert readers["sr"] == []
    np.testing.assert_array_equal(constant(made.graph, "tail.weight"), W * 2)
    with pytest.raises(SrdeployError, match="stores no tensor 'h'"):
        constant(made.graph, "h")
    assert store(made.graph, "more", B[::-1]) == "more"
    assert constant(made.graph, "more").tolist() == [3, 2, 1]
    drop_unread(made.graph)
    assert "more" not in {t.name for t in made.graph.initializer}
    assert len(made.graph.initializer) == 7
    watched = with_outputs(made, ["s", "sr", "h"])
    assert [o.name for o in watched.graph.output] == ["sr", "s", "h"]
    assert len(made.graph.output) == 1
    assert list(tensor_types(made)) == ["lr", "h", "r", "a", "u", "v", "s", "t", "m", "e", "sr"]


# 16 bits


def run(made: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime as ort

    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"lr": x})[0]


def test_all_that_can_is_narrowed() -> None:
    wide = network()
    halved, kept = narrow(wide, TensorProto.FLOAT16, [])
    onnx.checker.check_model(halved)
    assert kept == []
    assert {t.data_type for t in halved.graph.initializer} == {TensorProto.FLOAT16}
    names = {t.name for t in halved.graph.initializer}
    assert names == {f"{t.name}_fp16" for t in wide.graph.initializer}
    casts = [(n.input[0], n.output[0]) for n in halved.graph.node if n.op_type == "Cast"]
    assert casts == [("lr", "lr_fp16"), ("sr_half", "sr")]  # the ends stay
    assert {e.type.tensor_type.elem_type for e in (*halved.graph.input, *halved.graph.output)} == {
        1
    }
    x = np.random.default_rng(1).random((1, 3, 4, 5), np.float32)
    np.testing.assert_allclose(run(halved, x), run(wide, x), rtol=2e-2, atol=2e-2)
    assert wide.graph.initializer[0].data_type == TensorProto.FLOAT
    assert set(convolution_kinds(halved).values()) == {"fp16"}


def test_what_touches_a_kept_tensor_stays() -> None:
    wide = network()
    halved, kept = narrow(wide, TensorProto.FLOAT16, ["s"])
    onnx.checker.check_model(halved)
    assert kept == ["/s/Add", "/t/Add"]  # its maker and its reader
    made = [n for n in halved.graph.node if n.op_type == "Cast"]
    casts = {(n.input[0], n.output[0], n.attribute[0].i) for n in made}
    assert casts == {
        ("lr", "lr_fp16", 10), ("v", "v_fp32", 1), ("r", "r_fp32", 1), ("t", "t_fp16", 10),
        ("sr_half", "sr", 1),
    }  # fmt: skip
    stored = {t.name: t.data_type for t in halved.graph.initializer}
    assert stored["one"] == TensorProto.FLOAT
    assert "one_fp16" not in stored
    x = np.random.default_rng(1).random((1, 3, 4, 5), np.float32)
    np.testing.assert_allclose(run(halved, x), run(wide, x), rtol=2e-2, atol=2e-2)


def test_operators_without_half_a_float_stay() -> None:
    made = model(
        [node("Round", ["lr"], "a"), node("Relu", ["a"], "b"), node("Ceil", ["b"], "sr")], {}
    )
    halved, kept = narrow(made, TensorProto.BFLOAT16, [])
    assert kept == ["/a/Round", "/sr/Ceil"]
    assert [n.output[0] for n in halved.graph.node] == ["a", "a_bf16", "b", "b_fp32", "sr"]


@pytest.mark.parametrize(
    ("peak", "overflows"),
    [(16375.0, False), (16376.0, False), (16377.0, True), (float("nan"), True)],
)
def test_a_quarter_of_the_largest_half_is_the_limit(
    peak: float, overflows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from srdeploy.exporting.precision import fp16 as precision_fp16

    asked = []

    def peaks(made: onnx.ModelProto, tensors: list[str], inputs: object) -> dict[str, float]:
        asked.append(tensors)
        return dict.fromkeys(tensors, 1.0) | {"s": peak}

    monkeypatch.setattr(precision_fp16, "peaks", peaks)
    audit = audit_ranges(network(), [])
    assert asked == [["lr", "h", "r", "a", "u", "v", "s", "t", "m", "e", "sr"]]
    assert audit.overflowing == (frozenset({"s"}) if overflows else frozenset())
    assert audit.peaks["h"] == 1


def test_what_each_layer_reaches() -> None:
    made = network()
    names = ("lr", "h", "r", "a", "u", "v", "s", "t", "m", "e", "sr")
    values = (2.0, 50.0, 4.0, 8.0, 16.0, 1.0, 65504.0, 1.0, 3.0, 0.5, 9.0)
    reached = dict(zip(names, values, strict=True))
    audit = Audit(reached, frozenset({"s"}))
    halved, kept = to_half(made, audit)
    assert kept == ["/s/Add", "/t/Add"]
    assert set(convolution_kinds(halved).values()) == {"fp16"}
    rows = audit_rows(made, audit, kept)
    assert [(row["layer"], row["precision"], row["max_abs"]) for row in rows] == [
        ("head", "fp16", 50.0),  # the result itself, before the ReLU
        ("/a/Conv", "fp16", 8.0),
        ("shared", "fp16", 16.0),
        ("/s/Add", "fp32", 65504.0),
        ("tail", "fp16", 3.0),
    ]
    assert [row["headroom"] for row in rows] == pytest.approx([65504 / r["max_abs"] for r in rows])
    nothing = audit_rows(made, Audit(dict.fromkeys(reached, 0.0), frozenset()), [])
    assert nothing[0]["headroom"] == pytest.approx(65504e30)
