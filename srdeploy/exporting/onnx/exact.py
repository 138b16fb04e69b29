"""An ONNX file computed in float64, by ONNX's own reference evaluator.

Two float32 programs of one network may part as far as rounding takes them. Of a network that was
pruned and not tuned, whose features grow from layer to layer, that can be a share of the outputs
that neither shows nor excuses anything. In float64 they part only where the graph is another one.

ONNX keeps attributes in float32, torch its modules' in float64: a slope of 0.05 is read as the
shortest decimal that it stands for. The evaluator is NumPy: it is slow, and meant for few inputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from srdeploy.errors import UserError

FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE


def in_float64(path: str | Path, x: NDArray[np.float32]) -> NDArray:
    """What a file's graph makes of an input, in float64.

    Args:
        path: An ONNX file in float32 with one input and one output.
        x: float32 ``[N, C, H, W]``, in 0..value_range.

    Returns:
        float64, of the output's shape.

    Raises:
        UserError: it has an operation that the evaluator does not compute in float64.
    """
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(path)
    _widen(model)
    try:
        evaluator = ReferenceEvaluator(model)
        for node in evaluator.rt_nodes_:
            for attribute in node.onnx_node.attribute:
                if attribute.type == onnx.AttributeProto.FLOAT:
                    setattr(node, attribute.name, float(str(np.float32(attribute.f))))
        with np.errstate(all="ignore"):  # it computes both sides of a sigmoid
            found: Any = evaluator.run(None, {model.graph.input[0].name: x.astype(np.float64)})
    except Exception as error:  # whatever an operation of it raises on float64
        raise UserError(f"ONNX's evaluator does not compute this file ({error}).") from error
    answer = np.asarray(found[0])
    if answer.dtype != np.float64:
        raise UserError("A part of this file computes in float32 whatever it is given.")
    return answer


def _widen(model: onnx.ModelProto) -> None:
    """Make float64 of every float32 tensor that a model holds or makes."""
    graph = model.graph
    tensors = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                tensors.append(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT:
                attribute.i = DOUBLE
    for tensor in tensors:
        if tensor.data_type == FLOAT:
            wide = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(wide, tensor.name))
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == FLOAT:
            value.type.tensor_type.elem_type = DOUBLE
