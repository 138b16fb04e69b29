"""float16 written into an ONNX graph: half the weights, half the traffic, float32 where it must be.

float16 ends at 65504. So the network is run on images first and every tensor's largest magnitude
is noted; an operation that reads or writes one with less than :data:`HEADROOM` to spare (other
images reach further) stays in float32, by name, with casts around it. The network is expected with
its value range folded into its ends (:mod:`srdeploy.export.fold`), so that 255 is not in the way.
The graph's own input and output stay float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from srdeploy.export.precision_graph import drop_unread, layers_of
from srdeploy.export.probe import INPUT
from srdeploy.export.quantise_ranges import peaks

LARGEST = 65504.0
"""The largest finite float16."""

HEADROOM = 4.0
"""A tensor stays in float32 unless it could grow by this factor before it overflows."""

_HALVES = {
    *("Conv", "ConvTranspose", "MatMul", "Gemm", "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid"),
    *("Tanh", "HardSigmoid", "HardSwish", "Erf", "Softmax", "Add", "Sub", "Mul", "Div", "Neg"),
    *("Abs", "Max", "Min", "Concat", "Split", "Slice", "Gather", "Pad", "Transpose", "Reshape"),
    *("Flatten", "Squeeze", "Unsqueeze", "Expand", "Tile", "DepthToSpace", "SpaceToDepth"),
    *("GlobalAveragePool", "AveragePool", "MaxPool"),
}
"""Operators whose floating inputs and outputs share one type, float16 among them."""


@dataclass(frozen=True)
class Audit:
    """How far a network's tensors reach on images.

    Attributes:
        peaks: Largest magnitude of each float32 tensor.
        overflowing: Those that leave less than :data:`HEADROOM` below 65504.
    """

    peaks: dict[str, float]
    overflowing: frozenset[str]


def audit_ranges(model: onnx.ModelProto, inputs: Iterable[NDArray[np.float32]]) -> Audit:
    """Run the float32 model and note every tensor's largest magnitude."""
    tensors = [name for name, kind in _types(model).items() if kind == TensorProto.FLOAT]
    found = peaks(model, tensors, inputs)
    too_large = frozenset(t for t, peak in found.items() if not peak * HEADROOM <= LARGEST)
    return Audit(found, too_large)


def to_half(model: onnx.ModelProto, audit: Audit) -> tuple[onnx.ModelProto, list[str]]:
    """A copy in float16, and the names of the nodes that stay in float32."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    kinds = _types(model)
    floats = {name for name, kind in kinds.items() if kind == TensorProto.FLOAT}
    stored = {t.name: t for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    ends = {value.name for value in graph.output}
    halves = {INPUT: False}
    nodes: list[onnx.NodeProto] = []
    casts: set[str] = set()
    kept: list[str] = []
    added: dict[str, onnx.TensorProto] = {}

    def cast(tensor: str, half: bool, result: str) -> None:
        kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        nodes.append(helper.make_node("Cast", [tensor], [result], name=f"{result}/Cast", to=kind))

    def read(tensor: str, half: bool) -> str:
        """The name under which a node of this type finds the tensor."""
        if tensor in stored:
            if half and f"{tensor}_fp16" not in added:
                values = numpy_helper.to_array(stored[tensor]).astype(np.float16)
                added[f"{tensor}_fp16"] = numpy_helper.from_array(values, f"{tensor}_fp16")
            return f"{tensor}_fp16" if half else tensor
        if tensor not in floats or halves[tensor] == half:
            return tensor
        result = f"{tensor}_{'fp16' if half else 'fp32'}"
        if result not in casts:
            casts.add(result)
            cast(tensor, half, result)
        return result

    for node in graph.node:
        touched = {name for name in (*node.input, *node.output) if name in floats}
        if not touched:
            nodes.append(node)
            continue
        half = node.op_type in _HALVES and not touched & audit.overflowing
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


def audit_rows(model: onnx.ModelProto, audit: Audit, kept: list[str]) -> list[dict[str, Any]]:
    """Per layer of the float32 model: what it reaches, and what that leaves it in."""
    rows: list[dict[str, Any]] = []
    for layer in layers_of(model):
        peak = max(audit.peaks[t] for t in (*layer.inputs, layer.result))
        rows.append(
            {
                "layer": layer.name,
                "precision": "fp32" if layer.node in kept else "fp16",
                "max_abs": peak,
                "headroom": LARGEST / max(peak, 1e-30),
            }
        )
    return rows


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of the input and of every computed tensor, in graph order."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    known = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    computed = (name for node in model.graph.node for name in node.output)
    return {name: known[name] for name in (INPUT, *computed) if name in known}
