"""bf16 ONNX files in onnxruntime, whose CPU has no bfloat16 arithmetic: results without speed.

Every operation on bfloat16 is computed in float32 and its result rounded to bfloat16, weights are
taken as stored. That is what processors with bfloat16 units do: they multiply bfloat16 and sum in
float32. They may fuse operations and then round less often.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from srdeploy.errors import UserError
from srdeploy.runtime.onnx_file import last_clause
from srdeploy.runtime.onnx_session import OnnxSession
from srdeploy.runtime.providers import CONVOLUTIONS

UNROUNDED = "/wide"
"""Ending of the results that are about to be rounded."""

_PRECISIONS = {TensorProto.FLOAT: "fp32", TensorProto.BFLOAT16: "bf16"}


class OnnxReferenceSession(OnnxSession):
    """An ONNX file whose bfloat16 operations are computed in float32 and rounded."""

    runtime = "onnx-reference"

    def _model(self, path: Path) -> bytes:
        try:
            model = onnx.load(str(path))
        except Exception as error:  # protobuf's, and the checks of where weights lie
            raise UserError(
                f"'{path}' is no ONNX file, or a truncated one ({last_clause(error)}); export it "
                "again."
            ) from error
        self.precision = _precision(model)
        return widen(model).SerializeToString()


def _precision(model: onnx.ModelProto) -> str | None:
    kinds = {tensor.name: _PRECISIONS.get(tensor.data_type) for tensor in model.graph.initializer}
    found = Counter(
        kind
        for node in model.graph.node
        if node.op_type in CONVOLUTIONS and (kind := kinds.get(node.input[1]))
    )
    return "+".join(name for name, _ in found.most_common()) or None


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 graph that computes what a bfloat16 one says; tensors keep their names.

    A result that the graph has in bfloat16 is rounded to it and handed on in float32; casts to and
    from bfloat16 become exactly that, or nothing.

    Raises:
        UserError: types that cannot be inferred.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        detail = " ".join(str(error).split())[:200]
        raise UserError(f"The types of the ONNX graph cannot be told ({detail}).") from error
    wide = onnx.ModelProto()
    wide.CopyFrom(inferred)
    graph = wide.graph
    kinds = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    rounded = {name for name, kind in kinds.items() if kind == TensorProto.BFLOAT16}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        _widen_attributes(node)
        narrow = [name for name in node.output if name in rounded]
        for position, name in enumerate(node.output):
            if name in narrow:
                node.output[position] = name + UNROUNDED
        nodes.append(node)
        for name in narrow:
            nodes.append(_cast(name + UNROUNDED, f"{name}/bf16", TensorProto.BFLOAT16))
            nodes.append(_cast(f"{name}/bf16", name, TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.BFLOAT16:
            values = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*graph.input, *graph.output):
        if value.name in rounded:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    return wide


def _cast(tensor: str, result: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [tensor], [result], name=f"{result}/round", to=kind)


def _widen_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to":
            attribute.i = TensorProto.FLOAT if attribute.i == TensorProto.BFLOAT16 else attribute.i
        if attribute.name == "value" and attribute.t.data_type == TensorProto.BFLOAT16:
            values = numpy_helper.to_array(attribute.t).astype("float32")
            attribute.t.CopyFrom(numpy_helper.from_array(values, attribute.t.name))
