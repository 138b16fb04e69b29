"""ONNX files as others write them, made of ours: no card, no names, other ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision.graph import renamed
from srdeploy.models.load import load_network
from srdeploy.models.network import Network

TRAINED = "edsr-s-x2-p70"
"""The smallest network whose photographs show its range."""


def foreign(
    path: Path,
    network: Network | None = None,
    *,
    size: tuple[int, int] | None = None,
    batch: int | None = None,
    half: bool = False,
    opset: int = 17,
    old: bool = False,
) -> Path:
    """Write a file.

    Args:
        path: Where to.
        network: Default: a shipped one.
        size: Height and width, where it takes no other.
        batch: Images at a time, likewise.
        half: Weights and ends in float16.
        opset: Operator set.
        old: As exporters used to: weights as inputs, too, or as constants in the graph.
    """
    export_onnx(network or load_network(TRAINED), path, check=False, opset=max(opset, 13))
    model = onnx.load(path)
    del model.metadata_props[:]
    model.producer_name = "somebody"
    for node in model.graph.node:
        node.name = ""
    model = renamed(model, {"lr": "input", "sr": "output"})
    graph = model.graph
    for value, factor in ((graph.input[0], 1), (graph.output[0], 2)):
        for position, side in enumerate([batch, None, *(size or (None, None))]):
            if side is not None:
                value.type.tensor_type.shape.dim[position].dim_value = side * (
                    factor if position > 1 else 1
                )
    if half:
        _narrow(model)
    if old:
        _old(graph)
    if opset < 13:
        model.opset_import[0].version = opset  # which has the same operators
        model.ir_version = 3 if old else 6
    onnx.save(model, path)
    return path


def _narrow(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16


def _old(graph: onnx.GraphProto) -> None:
    """The first half of the weights as constants, the others among the inputs."""
    count = len(graph.initializer) // 2
    for tensor in list(graph.initializer)[:count]:
        node = helper.make_node("Constant", [], [tensor.name], value=tensor)
        graph.node.insert(0, node)
    rest = list(graph.initializer)[count:]
    del graph.initializer[:]
    graph.initializer.extend(rest)
    graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in rest
    )
