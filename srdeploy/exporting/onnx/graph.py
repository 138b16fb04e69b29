"""Network -> ONNX graph by one of torch's two exporters, simplified.

The trace exporter is the default: against ``torch.export``'s it is twenty times faster, keeps the
operator set asked for (17, which TensorRT 8.6 still reads; the other one writes 18 at least),
names nodes after the network's modules (so that a layer can be chosen by name later), and leaves
pixel unshuffles and slices without shape arithmetic. What a trace can get wrong, sizes and
branches baked in, the parity check finds. ``dynamo`` is for networks that only ``torch.export``
understands; unless an exporter is named, it is taken where the trace exporter refuses.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import onnxsim
import torch

from srdeploy.errors import SrdeployError, UserError, unknown_name
from srdeploy.exporting.probe import INPUT, OUTPUT
from srdeploy.exporting.targets import EXPORTERS
from srdeploy.models.network import Network
from srdeploy.models.probes import Size, photograph
from srdeploy.util.quiet import quiet

Exporter = Literal["trace", "dynamo"]

DEFAULT_OPSET = 17
OPSETS = (13, 21)
"""Lowest and highest operator set offered: 13 is what the oldest supported TensorRT (8.5) is at
home with, 21 the newest that the trace exporter writes."""

_LOWEST = {"trace": OPSETS[0], "dynamo": 18}


@dataclass(frozen=True)
class Traced:
    """A graph as an exporter wrote it.

    Attributes:
        model: Simplified; sizes are dynamic.
        exporter: Which one.
        notes: What was done that was not asked for.
    """

    model: onnx.ModelProto
    exporter: Exporter
    notes: list[str]


class _Refused(SrdeployError):
    """An exporter cannot write the network; ``reason`` is its own."""

    def __init__(self, exporter: str, reason: str) -> None:
        self.reason = reason
        other = EXPORTERS[EXPORTERS[0] == exporter]
        super().__init__(
            f"torch's {exporter} exporter refuses this network ({reason}); try --exporter {other}."
        )


def check_exporter(exporter: Exporter | None, opset: int | None) -> None:
    """See that they exist and go together.

    Raises:
        UserError: they do not.
    """
    if exporter is not None and exporter not in EXPORTERS:
        raise unknown_name("exporter", exporter, EXPORTERS)
    lowest = _LOWEST[exporter or "trace"]
    if opset is not None and not lowest <= opset <= OPSETS[1]:
        raise UserError(
            f"Operator set {opset} is not offered; choose one from {lowest} to {OPSETS[1]}."
        )


def graph_of(
    network: Network, size: Size, batch: int, exporter: Exporter | None, opset: int | None
) -> Traced:
    """Write a network as a graph.

    Args:
        network: What to write.
        size: Height and width of the example that is followed.
        batch: Images in the example of ``dynamo``, which takes a dimension of one for a constant.
        exporter: None: ``trace``, and ``dynamo`` where that refuses.
        opset: Operator set; None: :data:`DEFAULT_OPSET`, or the lowest that the exporter writes.

    Raises:
        SrdeployError: no exporter that may be used writes it.
    """
    if exporter == "dynamo":
        return Traced(_by_dynamo(network, size, batch, opset), "dynamo", [])
    try:
        example = torch.from_numpy(photograph(network.card, size))
        return Traced(traced_part(network.module, (example,), (INPUT,), opset), "trace", [])
    except _Refused as first:
        if exporter is not None or (opset is not None and opset < _LOWEST["dynamo"]):
            raise
        try:
            model = _by_dynamo(network, size, batch, opset)
        except _Refused as second:
            raise SrdeployError(
                f"torch's trace exporter refuses this network ({first.reason}), and so does its "
                f"dynamo exporter ({second.reason})."
            ) from first
        note = f"by torch's dynamo exporter, as its trace exporter refuses ({first.reason})"
        return Traced(model, "dynamo", [note])


def traced_part(
    module: torch.nn.Module,
    examples: tuple[torch.Tensor, ...],
    names: tuple[str, ...],
    opset: int | None,
) -> onnx.ModelProto:
    """A module, or a part of one, by the trace exporter; its inputs bear the given names."""
    axes = {0: "N", 2: "H", 3: "W"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traced.onnx"
        with quiet(), _refusal("trace"):
            torch.onnx.export(
                module,
                examples,
                path,
                opset_version=opset or DEFAULT_OPSET,
                dynamo=False,
                input_names=list(names),
                output_names=[OUTPUT],
                dynamic_axes=dict.fromkeys((*names, OUTPUT), axes),
            )
        return simplified_graph(onnx.load(path))


def _by_dynamo(network: Network, size: Size, batch: int, opset: int | None) -> onnx.ModelProto:
    example = torch.from_numpy(photograph(network.card, size, batch))
    dynamic = torch.export.Dim.DYNAMIC
    axes = {2: dynamic, 3: dynamic} | ({0: dynamic} if batch > 1 else {})
    with quiet(), _refusal("dynamo"):
        program = torch.onnx.export(
            network.module,
            (example,),
            opset_version=opset or _LOWEST["dynamo"],
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=(axes,),
            verbose=False,
        )
    assert program is not None
    return simplified_graph(program.model_proto)


@contextlib.contextmanager
def _refusal(exporter: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        first = str(error).strip().splitlines()
        raise _Refused(exporter, first[0].rstrip(".") if first else type(error).__name__) from error


def simplified_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without what a reader can fold away; its constants are stored, under their names.

    Raises:
        SrdeployError: something that should have gone is left.
    """
    simplified, _ = onnxsim.simplify(model)
    graph = simplified.graph
    if leftover := [node.name for node in graph.node if node.op_type == "Identity"]:
        raise SrdeployError(f"onnxsim left Identity nodes in the graph: {', '.join(leftover)}.")
    _constants_to_initializers(graph, model.graph)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    # Inferred shapes bear invented names, and notes tell of the machine: neither is ours to ship.
    del graph.value_info[:]
    for holder in (simplified, graph, *graph.node, *graph.input, *graph.output):
        del holder.metadata_props[:]
        holder.doc_string = ""
    return simplified


def _constants_to_initializers(graph: onnx.GraphProto, original: onnx.GraphProto) -> None:
    """Give folded weights back their layers' names, as initialisers.

    Where onnxsim folds a factor into a convolution, the new weights are nameless Constant nodes,
    which quantisers overlook.
    """
    constants = {
        node.output[0]: node.attribute[0].t
        for node in graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    inputs_before = {node.name: list(node.input) for node in original.node}
    names = {tensor.name for tensor in graph.initializer}
    names.update(output for node in graph.node for output in node.output)
    renamed: dict[str, str] = {}
    for node in graph.node:
        before = inputs_before.get(node.name, [])
        for position, name in enumerate(node.input):
            if name not in constants:
                continue
            if name not in renamed:
                wish = before[position] if position < len(before) else name
                renamed[name] = name if wish in names else wish
                names.add(renamed[name])
            node.input[position] = renamed[name]
    others = [
        node for node in graph.node if node.op_type != "Constant" or node.output[0] not in constants
    ]
    del graph.node[:]
    graph.node.extend(others)
    for old, new in renamed.items():
        graph.initializer.add().CopyFrom(constants[old])
        graph.initializer[-1].name = new
