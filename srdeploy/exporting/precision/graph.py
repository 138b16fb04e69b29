"""An ONNX graph seen as layers: convolutions and sums under their modules' names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from srdeploy.errors import SrdeployError
from srdeploy.runtime.sizes import InputSizes

CONVOLUTIONS = ("Conv", "ConvTranspose")
_KINDS = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
}


@dataclass(frozen=True)
class Layer:
    """One convolution or one sum of two images.

    Attributes:
        name: Its module's name (``body.0.body.2``); a sum's node name.
        node: The node's name.
        operator: ``Conv``, ``ConvTranspose`` or ``Add``.
        inputs: Tensors of the image that it reads.
        weight: Name of its weights; empty for a sum.
        bias: Name of its bias, or empty.
        result: Tensor it writes.
        output: The same, after the ReLU that alone reads it, where there is one.
    """

    name: str
    node: str
    operator: str
    inputs: tuple[str, ...]
    weight: str
    bias: str
    result: str
    output: str

    @property
    def is_sum(self) -> bool:
        """Whether it is no convolution."""
        return self.operator == "Add"


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    """Convolutions with stored weights, and sums of two computed tensors, in graph order."""
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    readers = readers_of(graph)
    ends = {value.name for value in graph.output}
    found: list[Layer] = []
    taken: set[str] = set()
    for node in graph.node:
        conv = node.op_type in CONVOLUTIONS and node.input[1] in stored
        if not conv and not (node.op_type == "Add" and not stored & set(node.input)):
            continue
        result = output = node.output[0]
        following = readers[result]
        if conv and len(following) == 1 and result not in ends and following[0].op_type == "Relu":
            output = following[0].output[0]
        bias = node.input[2] if conv and len(node.input) > 2 else ""
        name = _layer_name(node, bias, taken)
        taken.add(name)
        found.append(
            Layer(
                name=name,
                node=node.name,
                operator=node.op_type,
                inputs=(node.input[0],) if conv else tuple(node.input),
                weight=node.input[1] if conv else "",
                bias=bias,
                result=result,
                output=output,
            )
        )
    return found


def convolution_kinds(model: onnx.ModelProto) -> dict[str, str]:
    """What each convolution of a finished graph really computes in, by its node's name.

    A convolution is ``int8`` when both its image and its weights were dequantised; else the type
    of its stored weights counts. This reads the graph alone, whatever made it.

    Raises:
        SrdeployError: weights that are neither stored nor dequantised.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type not in CONVOLUTIONS:
            continue
        image, weights = (makers.get(name) for name in node.input[:2])
        if weights is not None and weights.op_type == "DequantizeLinear":
            rounded = image is not None and image.op_type == "DequantizeLinear"
            kind = types.get(weights.input[0]) if rounded else TensorProto.FLOAT
        else:
            kind = types.get(node.input[1])
        if kind not in _KINDS:
            raise SrdeployError(
                f"The precision of '{node.name}' cannot be read: its weights are computed."
            )
        found[node.name] = _KINDS[kind]
    return found


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor."""
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def constant(graph: onnx.GraphProto, name: str) -> NDArray:
    """A stored tensor.

    Raises:
        SrdeployError: there is none of that name.
    """
    for tensor in graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    raise SrdeployError(f"The graph stores no tensor '{name}'.")


def store(graph: onnx.GraphProto, name: str, values: NDArray) -> str:
    """Add a stored tensor and return its name."""
    graph.initializer.append(numpy_helper.from_array(np.array(values, order="C"), name))
    return name


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove stored tensors that no node reads any more."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def with_outputs(model: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """A copy that also returns inner float32 tensors, in the order given, after its own output."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    ends = {value.name for value in model.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in tensors
        if name not in ends
    )
    return watched


def _layer_name(node: onnx.NodeProto, bias: str, taken: set[str]) -> str:
    # The bias first: two layers may share equal weights (a network's mean shifts), stored once.
    for tensor, ending in ((bias, ".bias"), (node.input[1], ".weight")):
        name = tensor.removesuffix(ending)
        if name and name != tensor and name not in taken:
            return name
    return node.name or node.output[0]


def renamed(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """A copy whose tensors bear other names; whatever had one of those before makes room.

    Args:
        model: Without graphs inside its nodes, unless there is nothing to rename.
        names: New names by old ones.
    """
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    graph = copied.graph
    holders = (graph.input, graph.output, graph.value_info, graph.initializer)
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= {value.name for holder in holders for value in holder}
    wanted = {old: new for old, new in names.items() if old != new}
    for name in (taken & set(wanted.values())) - set(wanted):
        free = f"{name}_inner"
        while free in taken:
            free += "_"
        wanted[name] = free
        taken.add(free)
    for node in graph.node:
        for ends in (node.input, node.output):
            for position, name in enumerate(ends):
                ends[position] = wanted.get(name, name)
    for holder in holders:
        for value in holder:
            value.name = wanted.get(value.name, value.name)
    return copied


def raised(model: onnx.ModelProto, opset: int, why: str) -> onnx.ModelProto:
    """A copy in a later set of operators.

    Args:
        model: In an earlier one.
        opset: Number of the later.
        why: Who needs it, as the beginning of a sentence.

    Raises:
        SrdeployError: an operator that cannot be raised to that set.
    """
    try:
        later = onnx.version_converter.convert_version(model, opset)
    except Exception as error:  # the converter's own and its C++ part's share no base class
        detail = " ".join(str(error).split())[:200]
        raise SrdeployError(
            f"{why} ONNX operator set {opset}, and the graph cannot be raised to it ({detail})."
        ) from error
    del later.graph.value_info[:]  # the converter's; they would contradict new types
    return later


def sizes_of(model: onnx.ModelProto) -> InputSizes | None:
    """Heights and widths that a graph takes; None: all."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return InputSizes.of_shape([d.dim_value or None for d in dims[2:]])
