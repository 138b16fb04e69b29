"""What a network asks of a device: its convolutions by kind, with widths that pruning can change.

The graph that is exported says what runs: kernels, resolutions, and what follows each convolution
(which most runtimes fuse into it). The names of its weights say which groups of channels decide the
widths.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision.graph import readers_of
from srdeploy.models.network import Network
from srdeploy.pruning.tracing.groups import Grouping
from srdeploy.pruning.tracing.residual_blocks import ResidualBlock
from srdeploy.reconstruct.budget import channel_shares

FUSED = ("Relu", "LeakyRelu", "PRelu", "Add")
"""Operators that runtimes compute together with the convolution before them."""

DEPTHWISE = 0
"""As the number of groups of a kind: each channel is a group of its own."""

_HEAVY = ("ConvTranspose", "Gemm", "MatMul", "Einsum", "Softmax", "Resize", "GridSample")
_SIDE = 48


@dataclass(frozen=True, order=True)
class LayerKind:
    """Convolutions that differ in their widths only.

    Attributes:
        kernel: Height and width.
        groups: Of a grouped convolution; 1: none, :data:`DEPTHWISE`.
        factor: Height of its output over the height of the network's input.
        follow: The operator of :data:`FUSED` that alone reads it; empty: another, or several.
    """

    kernel: tuple[int, int]
    groups: int
    factor: float
    follow: str

    def __str__(self) -> str:
        """As tables call it: ``3x3 conv + Relu, at 2x``."""
        grouped = {1: "", DEPTHWISE: " depthwise"}.get(self.groups, f" in {self.groups} groups")
        after = f" + {self.follow}" if self.follow else ""
        where = f", at {self.factor:g}x" if self.factor != 1 else ""
        return f"{self.kernel[0]}x{self.kernel[1]}{grouped} conv{after}{where}"


@dataclass(frozen=True)
class Width:
    """A number of channels that depends on what groups lose.

    Attributes:
        full: Before pruning.
        parts: Groups of which it holds channels, and how many for each of their atoms.
    """

    full: int
    parts: tuple[tuple[str, float], ...] = ()

    @property
    def fixed(self) -> bool:
        """Whether pruning leaves it as it is."""
        return not self.parts

    def left(self, removed: Mapping[str, int]) -> int:
        """Channels that are left when groups have lost so many atoms."""
        return round(self.full - sum(each * removed.get(name, 0) for name, each in self.parts))


@dataclass(frozen=True)
class LayerUse:
    """A convolution of a network.

    Attributes:
        name: Of its weight's module.
        kind: What it is.
        inputs: Its input channels,
        outputs: and its output channels.
        blocks: Residual blocks that it is in: it is gone with any of them.
    """

    name: str
    kind: LayerKind
    inputs: Width
    outputs: Width
    blocks: tuple[str, ...] = ()

    @property
    def is_end(self) -> bool:
        """Whether one side is the image's, which no pruning changes."""
        return self.inputs.fixed != self.outputs.fixed


@dataclass(frozen=True)
class Uses:
    """All that a network asks for.

    Attributes:
        layers: Convolutions, in the order they run.
        others: Operators that no table holds and that cost something, with their number.
    """

    layers: tuple[LayerUse, ...]
    others: Mapping[str, int]

    def left(self, removed: Mapping[str, int]) -> list[LayerUse]:
        """The layers that are left when groups have lost atoms, and blocks are gone."""
        return [use for use in self.layers if not any(removed.get(name) for name in use.blocks)]


def uses_of(network: Network, grouping: Grouping, blocks: Sequence[ResidualBlock] = ()) -> Uses:
    """The convolutions of a network.

    Args:
        network: Folded, as :func:`srdeploy.models.folding.folded` gives it.
        grouping: Its groups; those that are untouchable decide no width.
        blocks: Residual blocks that may go.

    Raises:
        UserError: it has no convolution whose weights belong to a group.
        SrdeployError: it cannot be written as ONNX.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path, check=False)
        model = _sized(onnx.load(str(path)), network)
    shapes = _shapes(model.graph)
    height = shapes[model.graph.input[0].name][2]
    shares = channel_shares(grouping)
    free = {g.name for g in grouping.groups if g.status != "untouchable"}
    readers = readers_of(model.graph)

    def width(tensor: str, dim: int, full: int, times: int = 1) -> Width:
        _, by_group = shares.get(tensor, {}).get(dim, (full, {}))
        parts = {name: each * times for name, each in by_group.items() if name in free}
        return Width(full, tuple(sorted(parts.items())))

    found: list[LayerUse] = []
    for node in model.graph.node:
        if node.op_type != "Conv" or len(shapes.get(node.input[1], ())) != 4:
            continue
        weight = node.input[1]
        outputs, per_group, *kernel = shapes[weight]
        given: dict[str, Any] = {a.name: a for a in node.attribute}
        groups = given["group"].i if "group" in given else 1
        kind = LayerKind(
            kernel=(kernel[0], kernel[1]),
            groups=DEPTHWISE if groups == outputs > 1 else groups,
            factor=shapes[node.output[0]][2] / height,
            follow=_follow(readers[node.output[0]]),
        )
        out = width(weight, 0, outputs)
        into = out if kind.groups == DEPTHWISE else width(weight, 1, per_group * groups, groups)
        name = weight.removesuffix(".weight")
        inside = tuple(block.name for block in blocks if name in block.layers)
        found.append(LayerUse(name, kind, into, out, inside))
    if all(use.inputs.fixed and use.outputs.fixed for use in found):
        raise UserError(
            "No convolution of this network has a width that can be changed, so there is nothing "
            "to choose; see `srdeploy inspect FILE --groups`."
        )
    others = Counter(node.op_type for node in model.graph.node if node.op_type in _HEAVY)
    return Uses(tuple(found), dict(others))


def _follow(readers: list[onnx.NodeProto]) -> str:
    only = readers[0].op_type if len(readers) == 1 else ""
    return only if only in FUSED else ""


def _sized(model: onnx.ModelProto, network: Network) -> onnx.ModelProto:
    """The graph with the shapes of all tensors for one small image."""
    side = -(-max(_SIDE, network.card.smallest) // network.card.size_multiple)
    side *= network.card.size_multiple
    given = model.graph.input[0].type.tensor_type.shape.dim
    for dim, length in zip(given, (1, network.card.channels, side, side), strict=True):
        if not dim.dim_value:
            dim.Clear()
            dim.dim_value = length
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def _shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    values = (*graph.value_info, *graph.input, *graph.output)
    found = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    return found | {tensor.name: list(tensor.dims) for tensor in graph.initializer}
