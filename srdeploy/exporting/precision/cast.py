"""16 bits written into a float32 ONNX graph: half the weights, half the traffic.

Operators that can compute in the narrow type do, with weights stored in it; casts stand where a
tensor goes from one type to the other.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import TensorProto, helper, numpy_helper

from srdeploy.exporting.precision.graph import drop_unread
from srdeploy.exporting.probe import INPUT

NARROWED = {
    *("Conv", "ConvTranspose", "MatMul", "Gemm", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid"),
    *("Tanh", "HardSigmoid", "HardSwish", "Erf", "Softmax", "Add", "Sub", "Mul", "Div", "Neg"),
    *("Abs", "Max", "Min", "Concat", "Split", "Slice", "Gather", "Pad", "Transpose", "Reshape"),
    *("Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "DepthToSpace", "SpaceToDepth"),
    *("GlobalAveragePool", "AveragePool", "MaxPool"),
}
"""Operators whose floating inputs and outputs share one type, float16 and (from operator set 22 on)
bfloat16 among them."""

_SUFFIXES = {TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}


def narrow(
    model: onnx.ModelProto, kind: TensorProto.DataType, kept_tensors: Collection[str]
) -> tuple[onnx.ModelProto, list[str]]:
    """A copy in 16 bits, and the names of the nodes that stay in float32.

    The graph's own input and output stay float32, with casts between.

    Args:
        model: In float32.
        kind: ``TensorProto.FLOAT16`` or ``TensorProto.BFLOAT16``.
        kept_tensors: Whatever reads or writes one of these stays in float32.
    """
    suffix = _SUFFIXES[kind]
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    kinds = tensor_types(model)
    floats = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT}
    stored = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    ends = {value.name for value in graph.output}
    halves = {INPUT: False}
    nodes: list[onnx.NodeProto] = []
    casts: set[str] = set()
    kept: list[str] = []
    added: dict[str, onnx.TensorProto] = {}

    def cast(tensor: str, half: bool, result: str) -> None:
        to = kind if half else TensorProto.FLOAT
        nodes.append(helper.make_node("Cast", [tensor], [result], name=f"{result}/Cast", to=to))

    def read(tensor: str, half: bool) -> str:
        """The name under which a node of this type finds the tensor."""
        if tensor in stored:
            name = f"{tensor}_{suffix}"
            if half and name not in added:
                values = numpy_helper.to_array(stored[tensor]).astype(dtype)
                added[name] = numpy_helper.from_array(values, name)
            return name if half else tensor
        if tensor not in floats or halves[tensor] == half:
            return tensor
        result = f"{tensor}_{suffix if half else 'fp32'}"
        if result not in casts:
            casts.add(result)
            cast(tensor, half, result)
        return result

    for node in graph.node:
        touched = {name for name in (*node.input, *node.output) if name in floats}
        if not touched:
            nodes.append(node)
            continue
        half = node.op_type in NARROWED and touched.isdisjoint(kept_tensors)
        if not half:
            kept.append(node.name)
        for position, name in enumerate(node.input):
            node.input[position] = read(name, half)
        nodes.append(node)
        for position, name in enumerate(node.output):
            if half and name in ends:  # the graph's output keeps its name and its type
                node.output[position] = f"{name}_half"
                cast(f"{name}_half", False, name)
                halves[name] = False
            else:
                halves[name] = half
    graph.initializer.extend(added.values())
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unread(graph)
    return copied, kept


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of the input and of every computed tensor, in graph order."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    computed = (name for node in model.graph.node for name in node.output)
    given = model.graph.input[0].name
    return {name: known[name] for name in (given, *computed) if name in known}
