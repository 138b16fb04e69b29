"""ncnn's 8 bits: weights and the scales that its own table would hold, in the ``.bin`` file.

A convolution in 8 bits stores its weights as bytes, one scale for each output channel, and one for
its input; 8-bit values are what those scales multiply to (ncnn's ``Convolution::load_model``).
Which convolutions, and the ranges of their inputs, are those of ONNX files in int8
(:mod:`srdeploy.exporting.precision.write`), with symmetric ranges, as ncnn has no zero points. It
sums in float32, so sums are not rounded.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.exporting.ncnn.convert import Converted
from srdeploy.exporting.precision.graph import CONVOLUTIONS, Layer, constant, layers_of, sizes_of
from srdeploy.exporting.precision.quantise_graph import quantise_weights
from srdeploy.exporting.precision.quantise_ranges import watch
from srdeploy.exporting.precision.quantise_search import ranges_of, usual_layers
from srdeploy.exporting.precision.request import PrecisionRequest
from srdeploy.models.calibration import DEFAULT_CALIBRATION
from srdeploy.models.card import Card
from srdeploy.models.quantised import WEIGHT_STEPS
from srdeploy.runtime.inputs import network_inputs
from srdeploy.runtime.ncnn.param import WEIGHTS, Param
from srdeploy.runtime.ncnn.param import Layer as Line

_FLOATS, _BYTES = 0, 0x000D4B38
"""What stands before weights, and says how they are stored."""

_PLAIN: dict[str, Callable[[Line], int]] = {
    "PReLU": lambda line: line.number(0),
    "Bias": lambda line: line.number(0),
    "Scale": lambda line: line.number(0) * (1 + line.number(1)),
    "BatchNorm": lambda line: 4 * line.number(0),
    "GroupNorm": lambda line: 2 * line.number(1) * line.number(3, 1),
    "InstanceNorm": lambda line: 2 * line.number(0) * line.number(2, 1),
    "LayerNorm": lambda line: 2 * line.number(0) * line.number(2, 1),
    "MemoryData": lambda line: math.prod(line.number(key) or 1 for key in (0, 1, 2, 11)),
}
"""How many floats other kinds store, with nothing before them."""

_IN_8_BITS = "8=2"
_BIAS = {"InnerProduct": 1}
"""The setting that says whether there is a bias; of all others 5."""


def to_int8(
    converted: Converted, name: str, card: Card, request: PrecisionRequest
) -> tuple[Param, bytes, list[dict[str, Any]]]:
    """A network with its inner convolutions in 8 bits.

    Args:
        converted: As pnnx wrote it, in float32.
        name: What sentences call the network.
        card: The network's.
        request: Images and method of calibration.

    Returns:
        Structure and weights, and for each convolution in 8 bits its ``layer``, ``precision`` and
        the range of its input, ``low`` and ``high``.

    Raises:
        UserError: pnnx wrote other convolutions, or a layer stores what is not known.
    """
    model = converted.model
    chosen = _chosen(converted, name)
    entries = watch(
        model,
        [layer.inputs[0] for layer in chosen.values()],
        network_inputs(request.calibration or "builtin", card, sizes=sizes_of(model)),
    )
    method = request.method or DEFAULT_CALIBRATION
    ranges = ranges_of(model, entries, method, symmetric=True, value_range=card.value_range)
    lines, stored, told = [], bytearray(), []
    rest = memoryview(converted.weights.read_bytes())
    for line in converted.structure.layers:
        kept, rest = _values(line, rest, name)
        if (layer := chosen.get(line.name)) is not None:
            found = ranges[layer.inputs[0]]
            largest = max(-found.low, found.high)
            kept = _in_8_bits(constant(model.graph, layer.weight), kept, largest)
            line = replace(line, settings=(*line.settings, _IN_8_BITS))
            low, high = float(found.low), float(found.high)
            told.append({"layer": layer.name, "precision": "int8", "low": low, "high": high})
        lines.append(line)
        stored += kept
    if len(rest):
        raise _unknown(name)
    return Param(tuple(lines)), bytes(stored), told


def _chosen(converted: Converted, name: str) -> dict[str, Layer]:
    """Convolutions that are rounded, by their names in ncnn."""
    usual = set(usual_layers(converted.model))
    layers = {layer.node: layer for layer in layers_of(converted.model) if layer.name in usual}
    return {
        line.name: layers[node]
        for node, line in _pairs(converted, name)
        if line.kind == "Convolution" and node in layers
    }


def _pairs(converted: Converted, name: str) -> list[tuple[str, Line]]:
    """The graph's convolutions and what ncnn has for them: both have them in one order.

    What convolves a single pixel is a product in ncnn, among which there may be others.
    """
    graph = converted.lowered.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = [
        node for node in graph.node if node.op_type in CONVOLUTIONS and node.input[1] in stored
    ]
    apart = UserError(
        f"pnnx wrote other convolutions than '{name}' has, so their ranges are not known in "
        "ncnn; export the network in fp16."
    )
    left = list(reversed(nodes))
    pairs = []
    for line in converted.structure.layers:
        if line.kind not in WEIGHTS:
            continue
        alike = left and math.prod(stored[left[-1].input[1]].dims) == line.number(
            WEIGHTS[line.kind]
        )
        if alike:
            pairs.append((left.pop().name, line))
        elif line.kind != "InnerProduct":
            raise apart
    if left:
        raise apart
    return pairs


def _values(line: Line, rest: memoryview, name: str) -> tuple[bytes, memoryview]:
    """What a layer stores, and what follows it."""
    if line.kind in WEIGHTS:
        bias = line.number(0) if line.number(_BIAS.get(line.kind, 5)) else 0
        length = 4 + 4 * line.number(WEIGHTS[line.kind]) + 4 * bias
        if rest[:4] != struct.pack("<I", _FLOATS):
            raise _unknown(name)
    else:
        length = 4 * _PLAIN[line.kind](line) if line.kind in _PLAIN else 0
    if len(rest) < length:
        raise _unknown(name)
    return bytes(rest[:length]), rest[length:]


def _in_8_bits(values: NDArray[np.float32], kept: bytes, largest: float) -> bytes:
    """A convolution's part of the file, with the largest magnitude of its input."""
    rounded, scales = quantise_weights(values, 0)
    body = rounded.tobytes()
    body += bytes(-len(body) % 4)
    bias = kept[4 + 4 * values.size :]
    factors = (1 / scales).astype("<f4").tobytes()
    step = np.float32(WEIGHT_STEPS / max(largest, 1e-12))
    return struct.pack("<I", _BYTES) + body + bias + factors + step.astype("<f4").tobytes()


def _unknown(name: str) -> UserError:
    return UserError(
        f"A layer of '{name}' stores values in ncnn in a form that is not known here; "
        "export the network in fp16."
    )
