"""Small ONNX networks that show what one kind of layer costs.

A probe is a head, a chain of pairs of convolutions from ``a`` to ``b`` channels and back, and a
tail. The chain's length is the only difference between two probes of the same widths, so the
difference of their times is that of the pairs: what a runtime spends on starting, on the image's
three channels, on its own layout of tensors and on the way into 8 bits falls out. A convolution
from ``a`` to ``b`` counts half of its pair: along a network the other half comes back.

Bytes depend on what is asked alone, so that a store knows a probe again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from srdeploy import __version__
from srdeploy.errors import UserError
from srdeploy.exporting.precision.bf16 import to_bfloat16
from srdeploy.exporting.precision.fp16 import Audit, to_half
from srdeploy.exporting.precision.graph import layers_of
from srdeploy.exporting.precision.quantise_graph import quantise
from srdeploy.exporting.precision.quantise_search import usual_layers
from srdeploy.exporting.probe import INPUT, OUTPUT
from srdeploy.fitting.uses import DEPTHWISE, LayerKind
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.quantised import Range

OPSET = 17
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
"""What probes are written in; ``mixed`` chooses layers by their loss, which no probe has."""


@dataclass(frozen=True)
class Ends:
    """The first and the last convolution of a network, between which probes put theirs.

    Attributes:
        channels: Of the image.
        shuffle: Factor of the PixelShuffle after the last; 1: none.
        kernel: Height and width, of both.
        pre_upscaled: The network's input is the upscaled image already.
        scale: Upscaling factor.
    """

    channels: int
    shuffle: int
    kernel: tuple[int, int]
    pre_upscaled: bool
    scale: int

    @classmethod
    def of(cls, card: Card, kernel: tuple[int, int]) -> Ends:
        """Those of a network."""
        return cls(card.channels, card.network_scale, kernel, card.pre_upscaled, card.scale)

    @property
    def made(self) -> int:
        """Channels that the last one writes."""
        return self.channels * self.shuffle**2


def write_probe(
    ends: Ends, kind: LayerKind, widths: tuple[int, int], pairs: int, precision: str
) -> bytes:
    """A probe as the bytes of an ONNX file.

    Args:
        ends: Around the chain.
        kind: Of the chain's convolutions; its resolution is the image's matter.
        widths: ``a`` and ``b``; of depthwise convolutions both alike.
        pairs: Length of the chain.
        precision: One of :data:`PRECISIONS`; 8 bits for the chain only, as exports have it.

    Raises:
        UserError: another precision.
    """
    if precision not in PRECISIONS:
        raise UserError(
            f"Layers cannot be timed in {precision} before it is known which of them it is for; "
            f"choose among {', '.join(PRECISIONS)}."
        )
    graph = _Graph()
    x = graph.conv(INPUT, ends.channels, widths[0], ends.kernel, 1)
    x = _chain(graph, kind, x, widths, pairs)
    made = graph.conv(x, widths[0], ends.made, ends.kernel, 1)
    if ends.shuffle > 1:
        graph.node("DepthToSpace", [made], OUTPUT, blocksize=ends.shuffle, mode="CRD")
    else:
        graph.nodes[-1].output[0] = OUTPUT
    model = _in_precision(graph.model(ends), precision)
    card = Card(
        arch="layer-probe",
        scale=ends.scale,
        scales=(ends.scale,),
        channels=ends.channels,
        value_range=1.0,
        luma_only=ends.channels == 1,
        pre_upscaled=ends.pre_upscaled,
    )
    model.producer_name, model.producer_version = "srdeploy", __version__
    helper.set_model_props(model, {CARD_KEY: card.to_json()})
    return model.SerializeToString(deterministic=True)


def _chain(graph: _Graph, kind: LayerKind, x: str, widths: tuple[int, int], pairs: int) -> str:
    """Pairs of convolutions; sums join what a convolution makes with what is as wide as that."""
    a, b = widths
    groups = a if kind.groups == DEPTHWISE else kind.groups
    wide = ""
    for _ in range(pairs):
        made = graph.conv(x, a, b, kind.kernel, groups)
        wide = graph.follow(kind.follow, made, b, wide)
        made = graph.conv(wide, b, a, kind.kernel, groups)
        x = graph.follow(kind.follow, made, a, x)
    return x


class _Graph:
    """Nodes and weights of a graph that is being written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        made = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [made], name=name, **attributes))
        return made

    def conv(self, x: str, inputs: int, outputs: int, kernel: tuple[int, int], groups: int) -> str:
        shape = (outputs, inputs // groups, *kernel)
        scale = np.float32((3 / np.prod(shape[1:])) ** 0.5)  # keeps what passes about as large
        weight = self._stored(self._random.uniform(-1, 1, shape).astype(np.float32) * scale)
        bias = self._stored(np.full(outputs, 0.01, np.float32))
        below, right = (side // 2 for side in kernel)
        pads = [below, right, (kernel[0] - 1) // 2, (kernel[1] - 1) // 2]
        return self.node(
            "Conv", [x, weight, bias], kernel_shape=list(kernel), group=groups, pads=pads
        )

    def follow(self, operator: str, x: str, width: int, earlier: str) -> str:
        """What comes after a convolution; a sum only where there is something to add."""
        if operator == "Add":
            return self.node("Add", [x, earlier]) if earlier else x
        if operator == "PRelu":
            slopes = np.full((width, 1, 1), 0.2, np.float32)
            return self.node("PRelu", [x, self._stored(slopes)])
        if operator == "LeakyRelu":
            return self.node("LeakyRelu", [x], alpha=0.1)
        return self.node(operator, [x]) if operator else x

    def _stored(self, values: NDArray[np.float32]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def model(self, ends: Ends) -> onnx.ModelProto:
        grown = f"*{ends.shuffle}" if ends.shuffle > 1 else ""
        given = helper.make_tensor_value_info(
            INPUT, TensorProto.FLOAT, ["N", ends.channels, "H", "W"]
        )
        made = helper.make_tensor_value_info(
            OUTPUT, TensorProto.FLOAT, ["N", ends.channels, f"H{grown}", f"W{grown}"]
        )
        graph = helper.make_graph(self.nodes, "layer-probe", [given], [made], self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _in_precision(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    if precision == "fp16":
        return to_half(model, Audit({}, frozenset()))[0]
    if precision == "bf16":
        return to_bfloat16(model)[0]
    if precision == "int8":
        names = usual_layers(model)
        layers = [layer for layer in layers_of(model) if layer.name in names]
        tensors = {t for layer in layers for t in (*layer.inputs, layer.output)}
        # Runtimes compute a Relu with its convolution only if 8 bits hold nothing below 0 after it.
        cut = {node.output[0] for node in model.graph.node if node.op_type == "Relu"}
        ranges = {t: Range(0.0 if t in cut else -4.0, 4.0) for t in tensors}
        return quantise(model, names, ranges)
    return model
