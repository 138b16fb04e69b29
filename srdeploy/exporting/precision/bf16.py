"""bfloat16 written into an ONNX graph: float32's range, 8 bits of its 24 for the digits.

Nothing overflows, so there is nothing to audit and no value range to fold. What it lacks is
digits: a result between 128 and 255 is rounded to whole numbers. So the last arithmetic operation
stays in float32 (measured: of what bf16 loses on Set5 that saves half to two thirds, for 2 % of
the time). Convolutions have bfloat16 from operator set 22 on. Transposed ones stay in float32:
TensorRT-RTX 1.7 has no types for them in bfloat16 ("Could not infer output types").
"""

from __future__ import annotations

import onnx
from onnx import TensorProto

from srdeploy.exporting.precision.cast import narrow
from srdeploy.exporting.precision.graph import raised

OPSET = 22
"""The first operator set whose Conv takes bfloat16."""

_MOVES = {"DepthToSpace", "Transpose", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Clip"}


def to_bfloat16(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """A copy in bfloat16 and operator set 22, and the names of the nodes that stay in float32.

    Raises:
        SrdeployError: an operator that cannot be raised to that set.
    """
    later = raised(model, OPSET, "bf16 (unlike fp16) needs")
    transposed = {n.output[0] for n in later.graph.node if n.op_type == "ConvTranspose"}
    return narrow(later, TensorProto.BFLOAT16, last_results(later) | transposed)


def last_results(model: onnx.ModelProto) -> set[str]:
    """What the last arithmetic operation writes: the output, seen through mere movements."""
    makers = {name: node for node in model.graph.node for name in node.output}
    results: set[str] = set()
    name = model.graph.output[0].name
    while name in makers:
        node = makers[name]
        results.update(node.output)
        if node.op_type not in _MOVES:
            break
        name = node.input[0]
    return results
