"""SMSR's sparse form in ONNX: each module chooses between two branches by its own mask.

A module becomes an ``If`` on the density of the mask it has just computed. One branch gathers what
lies inside the mask (NonZero, Gather, MatMul, ScatterND), the other computes everything
(dense-with-masks). So a smooth image is quick, and a busy one as quick as the dense file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.exporting.probe import INPUT, SIZES
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.models.smsr.dense import DenseModule
from srdeploy.models.smsr.network import SMSR
from srdeploy.sparse.gathered import MASKED, SPARSE_BELOW, GatheredModule, Traceable

Trace = Callable[[nn.Module, tuple[Tensor, ...], tuple[str, ...]], onnx.ModelProto]
"""Module, example inputs and their names to a simplified model; all sizes dynamic."""

SPARSE_NOTE = (
    f"each module computes inside its mask only where that covers less than {SPARSE_BELOW:.0%} of "
    "the image, else everywhere"
)


def trace_sparse(network: Network, precision: str, trace: Trace) -> tuple[onnx.ModelProto, str]:
    """An SMSR network as a model with branches, and the note that tells what they do.

    Args:
        network: SMSR, float32.
        precision: Must be ``fp32``.
        trace: How to trace the frame and each branch.

    Raises:
        UserError: another precision.
    """
    assert isinstance(network.module, SMSR)
    if precision != "fp32":
        raise UserError(
            f"The sparse form is written in fp32, not {precision}; use --dense-masks, or leave the "
            "precision out."
        )
    module = Traceable(network.module)
    example = torch.from_numpy(photograph(network.card, SIZES[0]))
    model = trace(module, (example,), (INPUT,))
    put_branches(model, module, trace)
    return model, SPARSE_NOTE


class _Branch(nn.Module):
    def __init__(self, module: GatheredModule | DenseModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.module.masked(x, mask)


def put_branches(
    model: onnx.ModelProto,
    network: Traceable,
    trace: Trace,
    below: float = SPARSE_BELOW,
) -> None:
    """Replace the stand-ins of a traced :class:`Traceable` by their branches, in place.

    Args:
        model: The traced network.
        network: What was traced.
        trace: How to trace a branch, with the operator set of ``model``.
        below: Density below which a module gathers.
    """
    domain, operator = MASKED.split("::")
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.domain != domain or node.op_type != operator:
            nodes.append(node)
            continue
        number = helper.get_attribute_value(node.attribute[0])
        nodes += _choice(node, number, network, trace)
    threshold = numpy_helper.from_array(np.array(below, np.float32), _THRESHOLD)
    model.graph.initializer.append(threshold)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [one for one in model.opset_import if one.domain != domain]
    del model.opset_import[:]
    model.opset_import.extend(kept)


_THRESHOLD = "sparse_below"


def _choice(
    node: onnx.NodeProto, number: int, network: Traceable, trace: Trace
) -> list[onnx.NodeProto]:
    x, mask = node.input
    (out,) = node.output
    name = f"body.{number}"
    branches: dict[str, Any] = {
        "then_branch": (network.gathered[number], f"{name}.sparse."),
        "else_branch": (network.dense[number], f"{name}.dense."),
    }
    graphs = {
        key: _subgraph(trace, module, network.channels, prefix, x, mask)
        for key, (module, prefix) in branches.items()
    }
    density, sparse = f"{name}.density", f"{name}.is_sparse"
    return [
        helper.make_node("ReduceMean", [mask], [density], name=f"{density}/mean", keepdims=0),
        helper.make_node("Less", [density, _THRESHOLD], [sparse], name=f"{sparse}/less"),
        helper.make_node("If", [sparse], [out], name=f"{name}/If", **graphs),
    ]


def _subgraph(
    trace: Trace,
    module: GatheredModule | DenseModule,
    channels: int,
    prefix: str,
    x: str,
    mask: str,
) -> onnx.GraphProto:
    """A branch: its inputs are the outer graph's, all other names are its own."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, channels, 12, 14, generator=generator)
    inside = (torch.rand(2, 1, 12, 14, generator=generator) < 0.5).float()
    graph = trace(_Branch(module), (features, inside), ("x", "mask")).graph
    renamed = {"x": x, "mask": mask, "": ""}
    for node in graph.node:
        node.name = prefix + node.name
        node.input[:] = [renamed.get(i, prefix + i) for i in node.input]
        node.output[:] = [prefix + o if o else o for o in node.output]
    for tensor in graph.initializer:
        tensor.name = prefix + tensor.name
    graph.name = prefix.rstrip(".")
    del graph.input[:]
    del graph.value_info[:]
    graph.output[0].name = prefix + graph.output[0].name
    return graph
