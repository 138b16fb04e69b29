"""What an ONNX file would cost a device that does nothing but multiply."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


def padded_macs(path: str, shape: Sequence[int], block: int) -> int:
    """Multiply-accumulates of a file's convolutions, with widths filled up to blocks.

    Args:
        path: An ONNX file of one input.
        shape: Of the input, ``[N, C, H, W]``.
        block: Channels computed at a time.
    """
    import onnx

    model = onnx.load(path)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    for dim, length in zip(dims, shape, strict=True):
        dim.Clear()
        dim.dim_value = length
    model.graph.output[0].type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            outputs, inputs, *kernel = shapes[node.input[1]]
            filled = math.prod(-(-n // block) * block for n in (outputs, inputs))
            total += filled * math.prod(kernel) * math.prod(shapes[node.output[0]][2:])
    return total


def count_operators(path: str, names: Collection[str]) -> int:
    """How many nodes of an ONNX file are of these operators."""
    import onnx

    if not names:
        return 0
    graph = onnx.load(path, load_external_data=False).graph
    return sum(node.op_type in names for node in graph.node)
