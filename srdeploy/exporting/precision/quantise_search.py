"""Which layers eight bits hurt, and the fewest that must be spared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from srdeploy.exporting.precision.graph import layers_of, readers_of
from srdeploy.exporting.precision.quantise_graph import quantise
from srdeploy.exporting.precision.quantise_ranges import Statistics, choose_range, runner
from srdeploy.exporting.probe import INPUT
from srdeploy.models.quantised import Activations, Method, Range
from srdeploy.util.progress import track

_NAMED = 3  # layers that a refusal names


@dataclass(frozen=True)
class Cost:
    """What one layer costs when it alone runs on 8 bits.

    Attributes:
        layer: Its name.
        noise: Mean squared difference that it makes to the output, in 8-bit pixel steps squared.
    """

    layer: str
    noise: float


def usual_layers(model: onnx.ModelProto) -> list[str]:
    """What ``int8`` rounds: all but the ends of the network and the path between them.

    The first and the last convolution (and what stands before and after them: mean shifts) do a few
    percent of the work and carry the image itself. So does the long skip: its sum, the last one of
    the network, stays in float32 too, whatever reads it. (Before EDSR's upsampler an 8-bit
    convolution does; rounding the head's features on their way there would cost 1.3 dB, rounding
    their sum with the body costs a fiftieth of that.) Sums within the body are rounded, because a
    runtime then never leaves 8 bits there; not those that a float layer reads.
    """
    layers = layers_of(model)
    ends = _end_convolutions(model)
    inner = {layer.name for layer in layers if not layer.is_sum and layer.node not in ends}
    rounded = {layer.node for layer in layers if layer.name in inner or layer.is_sum}
    readers = readers_of(model.graph)
    summed = _summed_later(model)
    for layer in reversed(layers):
        if layer.is_sum:
            following = readers[layer.output]
            if layer.output in summed and all(node.name in rounded for node in following):
                inner.add(layer.name)
            else:
                rounded.discard(layer.node)
    return [layer.name for layer in layers if layer.name in inner]


def _summed_later(model: onnx.ModelProto) -> set[str]:
    """Tensors that some later sum depends on."""
    sums = {layer.node for layer in layers_of(model) if layer.is_sum}
    found: set[str] = set()
    for node in reversed(model.graph.node):
        if node.name in sums or found & set(node.output):
            found |= set(node.input)
    return found


def ranges_of(
    model: onnx.ModelProto,
    statistics: Mapping[str, Statistics],
    method: Method,
    *,
    symmetric: bool,
    value_range: float,
) -> dict[str, Range]:
    """The interval of every tensor; pictures, in and out, keep the steps that they have anyway."""
    found = {
        tensor: choose_range(entry, method, symmetric=symmetric)
        for tensor, entry in statistics.items()
    }
    for tensor in _picture(model) & found.keys():
        found[tensor] = Range(0.0, value_range)
    if (entry := statistics.get(INPUT)) is not None:  # upscaled beforehand, it may overshoot
        found[INPUT] = Range(min(entry.low, 0.0), max(entry.high, value_range))
    return found


def sensitivity(
    model: onnx.ModelProto,
    layers: Sequence[str],
    ranges: Mapping[str, Range],
    inputs: Sequence[NDArray[np.float32]],
    *,
    activations: Activations,
    value_range: float,
) -> list[Cost]:
    """Each layer's cost, the dearest first.

    Args:
        model: float32.
        layers: Names of the layers in question.
        ranges: As :func:`quantise`.
        inputs: float32 [N, C, H, W] each; a few are enough.
        activations: As :func:`quantise`.
        value_range: Of the network.
    """
    output = model.graph.output[0].name
    plain = runner(model)
    expected = [plain(x)[output] for x in inputs]
    costs = []
    with track("sensitivity", total=len(layers)) as bar:
        for name in layers:
            run = runner(quantise(model, [name], ranges, activations=activations))
            differences = [run(x)[output] - y for x, y in zip(inputs, expected, strict=True)]
            noise = float(np.mean([(d.astype(np.float64) ** 2).mean() for d in differences]))
            costs.append(Cost(name, noise * (255.0 / value_range) ** 2))
            bar.update(1)
    return sorted(costs, key=lambda cost: -cost.noise)


def spare_fewest(
    costs: Sequence[Cost],
    drop_without: Callable[[list[str]], float],
    max_drop: float,
    most: int,
) -> tuple[list[str], float] | None:
    """The shortest list of dearest layers to leave in float32 so that the loss is small enough.

    Bisection: sparing more of the dearest layers is taken to lose no more.

    Args:
        costs: Dearest first.
        drop_without: Loss in dB when these layers are spared and the others rounded.
        max_drop: What may be lost, dB.
        most: How many may be spared at most.

    Returns:
        The spared layers and the loss then, or None where sparing ``most`` loses too much.
    """
    names = [cost.layer for cost in costs]
    tried: dict[int, float] = {}

    def passes(count: int) -> bool:
        tried[count] = drop_without(names[:count])
        return tried[count] <= max_drop

    low, high = 0, most
    if not passes(most):
        return None
    while low < high:
        middle = (low + high) // 2
        if passes(middle):
            high = middle
        else:
            low = middle + 1
    return names[:high], tried[high]


def none_bearable(limit: float, data: str) -> str:
    """That sparing layers does not help, as a sentence."""
    return (
        f"No layer can run in int8 within {limit:g} dB on {data}; calibrate on images like yours "
        "(--calibration), allow more (--max-drop), or use fp16."
    )


def dearest_told(
    costs: Sequence[Cost], answer: tuple[list[str], float] | None, drop: float, layers: str
) -> str:
    """Which layers cost most and what would pass, as the end of a refusal.

    Args:
        costs: Dearest first.
        answer: Of :func:`spare_fewest`.
        drop: What is lost with all of them in 8 bits, dB.
        layers: What ``costs`` are of, in words.
    """
    dearest = ", ".join(cost.layer for cost in costs[:_NAMED])
    passing = (
        f"with {len(answer[0])} of {len(costs)} {layers} left in fp32 it would lose "
        f"{answer[1]:.3f} dB: use --precision mixed"
        if answer
        else "no selection of layers passes: calibrate on images like yours or use fp16"
    )
    enough = (
        f", or allow --max-drop {math.ceil(drop * 100) / 100:.2f}" if math.isfinite(drop) else ""
    )
    return f"the layers that cost most are {dearest}; {passing}{enough}"


def _end_convolutions(model: onnx.ModelProto) -> set[str]:
    """Nodes of the convolutions that read or make the image, colour shifts among them.

    Told by the graph, not by numbers of channels: a pruned layer may well keep three.
    """
    graph = model.graph
    channels = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    convolutions = {layer.node: layer.weight for layer in layers_of(model) if not layer.is_sum}
    shift = [channels, channels, 1, 1]  # makes one image of another
    inner = {node for node, weight in convolutions.items() if shapes[weight] != shift}
    given, made = {graph.input[0].name}, {graph.output[0].name}
    for node in graph.node:
        if node.name not in inner and given >= (read := set(node.input) - shapes.keys()) and read:
            given |= set(node.output)
    for node in reversed(graph.node):
        if node.name not in inner and made & set(node.output):
            made |= set(node.input)
    return {
        node.name
        for node in graph.node
        if node.name in convolutions and (node.input[0] in given or node.output[0] in made)
    }


def _picture(model: onnx.ModelProto) -> set[str]:
    """The output, and what becomes it by moving pixels alone."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name = model.graph.output[0].name
    found = {name}
    while (maker := makers.get(name)) is not None and maker.op_type == "DepthToSpace":
        name = maker.input[0]
        found.add(name)
    return found
