"""Sizes are read off the graph's input, not off what 8 bits have rounded.

A network that crops or resizes asks a tensor for its height and width. Where that tensor is made by
a convolution on 8 bits, OpenVINO (2026.4.1, CPU) sees two readers of the convolution, moves the
bias into the rounding, and there gives every channel the bias of the first: SMSR lost 1.6 dB on
Set5 by it, in OpenVINO alone. Most such tensors are as large as the image that comes in; asking
that one is the same number, and no convolution has a second reader.
"""

from __future__ import annotations

import onnx
from onnx import helper

from srdeploy.exporting.precision.graph import constant, readers_of

_KEEP = {
    *("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Erf"),
    *("Neg", "Abs", "Identity", "Cast", "QuantizeLinear", "DequantizeLinear", "Softmax"),
    *("Add", "Sub", "Mul", "Div", "Max", "Min"),
}
"""Operators whose result is as large as the largest of what they read."""


def read_sizes_off_input(graph: onnx.GraphProto) -> None:
    """Point ``Shape`` nodes at the graph's input where that has the same answer, in place.

    Only nodes whose readers ask for all but the channels are changed.

    Args:
        graph: One image in; float or rounded.
    """
    readers = readers_of(graph)
    alike = _as_large_as_input(graph)
    for node in graph.node:
        if (
            node.op_type == "Shape"
            and node.input[0] in alike
            and not node.attribute
            and all(_leaves_channels_out(graph, reader) for reader in readers[node.output[0]])
        ):
            node.input[0] = graph.input[0].name


def _as_large_as_input(graph: onnx.GraphProto) -> set[str]:
    """Tensors that have the input's batch, height and width, whatever those are."""
    found = {graph.input[0].name}
    for node in graph.node:
        if node.op_type == "Conv":
            keeps = node.input[0] in found and _keeps_size(graph, node)
        else:
            keeps = node.op_type in _KEEP and not found.isdisjoint(node.input)
        if keeps:
            found.add(node.output[0])
    return found


def _keeps_size(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Whether a convolution's padding makes up for its kernel."""
    told = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    kernel = told.get("kernel_shape")
    if kernel is None or told.get("auto_pad", b"NOTSET") != b"NOTSET":
        return False
    pads = told.get("pads", [0] * 2 * len(kernel))
    dilations = told.get("dilations", [1] * len(kernel))
    steps = told.get("strides", [1] * len(kernel))
    added = [before + after for before, after in zip(pads[:2], pads[2:], strict=True)]
    needed = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
    return added == needed and set(steps) == {1}


def _leaves_channels_out(graph: onnx.GraphProto, reader: onnx.NodeProto) -> bool:
    if reader.op_type != "Gather":
        return False
    stored = {tensor.name for tensor in graph.initializer}
    if reader.input[1] not in stored:
        return False
    return not {1, -3} & set(constant(graph, reader.input[1]).ravel().tolist())
