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
from srdeploy.runtime.onnx.file import last_clause
from srdeploy.runtime.onnx.providers import CONVOLUTIONS
from srdeploy.runtime.onnx.session import OnnxSession

UNROUNDED = "/wide"
"""Ending of the results that are about to be rounded."""

_PRECISIONS = {TensorProto.FLOAT: "fp32", TensorProto.BFLOAT16: "bf16"}


class OnnxReferenceSession(OnnxSession):
    """An ONNX file whose bfloat16 operations are computed in float32 and rounded."""

    runtime = "onnx-reference"

    def _model(self, path: Path) -> bytes:
        model = read_whole(path)
        self.precision = _precision(model)
        return widen(model).SerializeToString()


def read_whole(path: Path) -> onnx.ModelProto:
    """A file's graph with its weights, also those in files beside it.

    Raises:
        UserError: it is none, is truncated, or its weights lie elsewhere.
    """
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's, and the checks of where weights lie
        raise UserError(
            f"'{path}' is no ONNX file, or a truncated one ({last_clause(error)}); export it again."
        ) from error


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
    stored_wide(wide, TensorProto.BFLOAT16)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
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
    del graph.value_info[:]
    return wide


def stored_wide(model: onnx.ModelProto, kind: int) -> None:
    """Make float32 of all that a graph stores or states in a narrower type, in place.

    Args:
        model: Its weights, constants, casts and ends are looked at; not graphs inside its nodes.
        kind: ``TensorProto.BFLOAT16`` or ``TensorProto.FLOAT16``.
    """
    graph = model.graph
    attributes = [attribute for node in graph.node for attribute in node.attribute]
    constants = [a.t for a in attributes if a.name == "value"]
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type == kind:
            values = numpy_helper.to_array(tensor).astype("float32")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == kind:
                attribute.i = TensorProto.FLOAT
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == kind:
            value.type.tensor_type.elem_type = TensorProto.FLOAT


def _cast(tensor: str, result: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [tensor], [result], name=f"{result}/round", to=kind)
