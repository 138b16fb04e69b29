"""Writing 8-bit layers into an ONNX graph as pairs of QuantizeLinear and DequantizeLinear.

``x -> Q -> DQ -> Conv(DQ(weights)) -> Relu -> Q -> DQ``: runtimes recognise the pattern and run the
convolution on integers; one that does not computes the same rounding in float32. Weights have one
symmetric scale per output channel.

What is *not* written matters as much. A residual network's accuracy rides on its skip path, whose
range is many times that of the branches beside it. So a sum is float32 unless asked otherwise: a
tensor that a sum or a float layer made goes on as it is, and only the branch that feeds an 8-bit
convolution is rounded; what an 8-bit convolution made is rounded once, on its own finer range.

*How* it is written decides the speed. onnxruntime runs 8-bit convolutions with channels last, and
moves its transpositions through a sum only where both sides have one. A float layer's result has
none: then the first sum of a residual body, and with it every later one, is computed with channels
first, between two transpositions (a tenth of EDSR-S's time at best, a third with cold caches). So
where an 8-bit sum reads what a float layer made, that passes an 8-bit depthwise convolution by one
first: exact, and a fiftieth of the time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from srdeploy.exporting.precision.graph import (
    Layer,
    constant,
    drop_unread,
    layers_of,
    readers_of,
    store,
)
from srdeploy.exporting.precision.quantise_sizes import read_sizes_off_input
from srdeploy.models.quantised import SMALLEST_SCALE, WEIGHT_STEPS, Activations, Range


def quantise_weights(weights: NDArray, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 weights in -127..127 and one scale per output channel.

    Args:
        weights: float32 ``[out, in, h, w]``, or ``[in, out, h, w]`` of a transposed convolution.
        axis: The dimension of output channels.
    """
    others = tuple(d for d in range(weights.ndim) if d != axis)
    scales = np.maximum(np.abs(weights).max(axis=others) / WEIGHT_STEPS, SMALLEST_SCALE)
    steps = np.round(weights / _along(scales, axis, weights.ndim))
    return np.clip(steps, -WEIGHT_STEPS, WEIGHT_STEPS).astype(np.int8), scales.astype(np.float32)


def quantise(
    model: onnx.ModelProto,
    layers: Collection[str],
    ranges: Mapping[str, Range],
    *,
    activations: Activations = "uint8",
) -> onnx.ModelProto:
    """A copy of the model in which the named layers run on 8 bits.

    Args:
        model: float32.
        layers: Names of :func:`layers_of`: convolutions, and sums if they are to be rounded too.
        ranges: Of every tensor that is to be rounded.
        activations: ``uint8`` (asymmetric), or ``int8`` (symmetric).
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    read_sizes_off_input(graph)
    chosen = [layer for layer in layers_of(copied) if layer.name in set(layers)]
    outputs = {layer.output for layer in chosen}
    grids = {t: ranges[t] for layer in chosen for t in (*layer.inputs, layer.output)}
    for node in graph.node:  # moving pixels is exact on integers: the same steps on both sides
        if node.op_type == "DepthToSpace" and node.input[0] in outputs:
            outputs.add(node.output[0])
            grids[node.output[0]] = grids[node.input[0]]
    for layer in chosen:
        if not layer.is_sum:
            _dequantised_weights(graph, layer)
    entering: dict[str, int] = {}
    if activations == "uint8":
        channels = _channels(model)
        summed = {tensor for layer in chosen if layer.is_sum for tensor in layer.inputs}
        entering = {name: channels[name] for name in summed - set(outputs) if name in channels}
    rounded = _rename_readers(graph, chosen, outputs, grids)
    _insert(graph, rounded, grids, activations, entering)
    drop_unread(graph)
    return copied


def _dequantised_weights(graph: onnx.GraphProto, layer: Layer) -> None:
    axis = 1 if layer.operator == "ConvTranspose" else 0
    values, scales = quantise_weights(constant(graph, layer.weight), axis)
    name = f"{layer.name}.weight"
    node = helper.make_node(
        "DequantizeLinear",
        [
            store(graph, f"{name}_int8", values),
            store(graph, f"{name}_scale", scales),
            store(graph, f"{name}_zero", np.zeros(len(scales), np.int8)),
        ],
        [f"{name}_dq"],
        name=f"{name}/DequantizeLinear",
        axis=axis,
    )
    reader = next(n for n in graph.node if n.name == layer.node)
    reader.input[1] = node.output[0]
    graph.node.insert(list(graph.node).index(reader), node)


def _rename_readers(
    graph: onnx.GraphProto,
    chosen: list[Layer],
    outputs: set[str],
    grids: Mapping[str, Range],
) -> dict[str, str]:
    """Point readers at rounded tensors; returns each rounded tensor's name by its float one's."""
    quantised = {layer.node for layer in chosen}
    ends = {value.name for value in graph.output}
    readers = readers_of(graph)
    rounded: dict[str, str] = {}
    for tensor in grids:
        source, result = tensor, f"{tensor}_dq"
        for node in readers[tensor]:
            if tensor in outputs or node.name in quantised:
                node.input[list(node.input).index(tensor)] = result
        if tensor in ends and tensor in outputs:  # the graph's output keeps its name
            source, result = f"{tensor}_float", tensor
            maker = next(node for node in graph.node if tensor in node.output)
            maker.output[list(maker.output).index(tensor)] = source
        rounded[source] = result
    return rounded


def _insert(
    graph: onnx.GraphProto,
    rounded: Mapping[str, str],
    grids: Mapping[str, Range],
    activations: Activations,
    entering: Mapping[str, int],
) -> None:
    """Round tensors where they are made; ``entering``: channels of those that pass by one first."""
    nodes: list[onnx.NodeProto] = []

    def pair(source: str, result: str, grid: list[str]) -> None:
        for operator, tensor, out in (
            ("QuantizeLinear", source, f"{source}_q"),
            ("DequantizeLinear", f"{source}_q", result),
        ):
            nodes.append(
                helper.make_node(operator, [tensor, *grid], [out], name=f"{source}/{operator}")
            )

    def round_here(source: str) -> None:
        if source not in rounded:
            return
        result = rounded[source]
        scale, zero = grids[source if source in grids else result].grid(activations)
        grid = [
            store(graph, f"{source}_scale", np.asarray(scale)),
            store(graph, f"{source}_zero", np.asarray(zero)),
        ]
        if source in entering:
            first, passed = f"{source}_first", f"{source}_passed"
            pair(source, first, grid)
            nodes.extend(_times_one(graph, first, passed, entering[source]))
            pair(passed, result, grid)
        else:
            pair(source, result, grid)

    for value in graph.input:
        round_here(value.name)
    for node in graph.node:
        nodes.append(node)
        for name in node.output:
            round_here(name)
    del graph.node[:]
    graph.node.extend(nodes)


def _times_one(
    graph: onnx.GraphProto, source: str, result: str, channels: int
) -> list[onnx.NodeProto]:
    """A depthwise convolution with 8-bit weights of one."""
    weight = f"{result}.weight"
    ones = [
        store(graph, f"{weight}_int8", np.ones((channels, 1, 1, 1), np.int8)),
        store(graph, f"{weight}_scale", np.float32(1)),
        store(graph, f"{weight}_zero", np.int8(0)),
    ]
    return [
        helper.make_node(
            "DequantizeLinear", ones, [f"{weight}_dq"], name=f"{weight}/DequantizeLinear"
        ),
        helper.make_node(
            "Conv",
            [source, f"{weight}_dq"],
            [result],
            name=f"{result}/Conv",
            kernel_shape=[1, 1],
            group=channels,
        ),
    ]


def _channels(model: onnx.ModelProto) -> dict[str, int]:
    """Channels of the images within the graph, as far as they can be inferred."""
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    shapes = {value.name: value.type.tensor_type.shape.dim for value in inferred}
    return {
        name: int(d[1].dim_value) for name, d in shapes.items() if len(d) == 4 and d[1].dim_value
    }


def _along(values: NDArray, axis: int, dimensions: int) -> NDArray:
    return values.reshape([-1 if d == axis else 1 for d in range(dimensions)])
