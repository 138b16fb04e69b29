"""ONNX's shuffles of pixels in LiteRT's, whose channels lie in another order.

Where a convolution makes the channels, its weights are reordered, and nothing is computed for it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from srdeploy.exporting.litert.graph import Tensor
from srdeploy.exporting.litert.images import convolved
from srdeploy.exporting.litert.lower import Lowered, Lowering


def shuffle_order(channels: int, block: int) -> NDArray:
    """Where the channels of a PixelShuffle to so many channels lie, in the order LiteRT shuffles.

    Torch's channel ``c*r*r + i*r + j`` goes to row i, column j of channel c; LiteRT's is
    ``(i*r + j)*C + c``.
    """
    return np.arange(channels * block**2).reshape(channels, block**2).T.ravel()


def _depth_to_space(work: Lowering, node: onnx.NodeProto) -> None:
    x, block = work.image(node.input[0]), work.told(node, "blocksize")
    n, h, w, c = x.shape
    channels = c // block**2
    if work.told(node, "mode", "DCR") == "CRD" and channels > 1:
        x = chosen_channels(work, x, shuffle_order(channels, block))
    shape = (n, h * block, w * block, channels)
    work.keep_image(node.output[0], work.op("DEPTH_TO_SPACE", [x], shape, blockSize=block))


def chosen_channels(work: Lowering, x: Tensor, order: NDArray) -> Tensor:
    """An image with its channels in another order: a convolution by ones and zeros."""
    return convolved(work, x, np.eye(x.shape[3])[order][:, :, None, None])


def _space_to_depth(work: Lowering, node: onnx.NodeProto) -> None:
    x, block = work.image(node.input[0]), work.told(node, "blocksize")
    n, h, w, c = x.shape
    shape = (n, h // block, w // block, c * block**2)
    work.keep_image(node.output[0], work.op("SPACE_TO_DEPTH", [x], shape, blockSize=block))


def permuted_shuffles(model: onnx.ModelProto) -> None:
    """Change, in place, convolutions so that the shuffles after them are LiteRT's own.

    What computes single values (activations, sums) may lie between; then nothing has to be moved.
    """
    graph = model.graph
    stored = {one.name: one for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    count: dict[str, int] = {value.name: 1 for value in graph.output}
    for node in graph.node:
        for name in node.input:
            count[name] = count.get(name, 0) + 1
    for node in graph.node:
        told = {one.name: one for one in node.attribute}
        if node.op_type != "DepthToSpace" or "mode" not in told or told["mode"].s != b"CRD":
            continue
        block = told["blocksize"].i
        found = _permutable(node.input[0], makers, stored, count)
        lengths = {stored[reader.input[at]].dims[axis] for reader, at, axis in found or ()}
        if found is None or len(lengths) != 1:
            continue
        for reader, at, axis in found:
            values = onnx.numpy_helper.to_array(stored[reader.input[at]])
            name = f"{reader.input[at]}.shuffled.{node.output[0]}"
            length = values.shape[axis]
            moved = values.take(shuffle_order(length // block**2, block), axis)
            if name not in stored:
                graph.initializer.append(onnx.numpy_helper.from_array(np.array(moved), name))
                stored[name] = graph.initializer[-1]
            reader.input[at] = name
        told["mode"].s = b"DCR"


_POINTWISE = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "PRelu", "Add", "Mul", "Sub")


def _permutable(
    name: str, makers: dict[str, onnx.NodeProto], stored: dict[str, Any], count: dict[str, int]
) -> list[tuple[onnx.NodeProto, int, int]] | None:
    """Stored tensors that decide the order of an image's channels: reader, which input, axis."""
    node = makers.get(name)
    if node is None or count.get(name) != 1:
        return None
    if node.op_type == "Conv":
        group = next((one.i for one in node.attribute if one.name == "group"), 1)
        if group != 1 or not all(one in stored for one in node.input[1:]):
            return None
        return [(node, at, 0) for at in range(1, len(node.input)) if node.input[at]]
    if node.op_type not in _POINTWISE:
        return None
    found: list[tuple[onnx.NodeProto, int, int]] = []
    rest = node.input[:1] if node.op_type == "Clip" else node.input
    for at, one in enumerate(rest):
        if one in stored:
            dims = list(stored[one].dims)
            if math.prod(dims) == 1:
                continue
            if len(dims) < 3 or dims[-1] != 1 or dims[-2] != 1 or math.prod(dims) != dims[-3]:
                return None
            found.append((node, at, len(dims) - 3))
        else:
            more = _permutable(one, makers, stored, count)
            if more is None:
                return None
            found += more
    return found


SHUFFLES: dict[str, Lowered] = {
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
"""What writes them."""
