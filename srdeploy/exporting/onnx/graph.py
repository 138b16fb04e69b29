"""Network -> ONNX graph by one of torch's two exporters, simplified.

The trace exporter is the default: against ``torch.export``'s it is twenty times faster, keeps the
operator set asked for (17, which TensorRT 8.6 still reads; the other one writes 18 at least),
names nodes after the network's modules (so that a layer can be chosen by name later), and leaves
pixel unshuffles and slices without shape arithmetic. What a trace can get wrong, sizes and
branches baked in, the parity check finds. ``dynamo`` is for networks that only ``torch.export``
understands. :mod:`srdeploy.exporting.onnx.ways` says which is tried when.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import onnx
import onnxsim
import torch

from srdeploy.errors import SrdeployError, UserError, unknown_name
from srdeploy.exporting.fallback import NotThisWay
from srdeploy.exporting.pixel_reads import READS, pixel_read
from srdeploy.exporting.portable import Portable
from srdeploy.exporting.probe import INPUT, OUTPUT
from srdeploy.exporting.targets import EXPORTERS
from srdeploy.models.module_path import ModulePath, place_named
from srdeploy.models.network import Network
from srdeploy.models.probes import Size, photograph
from srdeploy.models.watch import CallWatch, OperationWatch, name_of
from srdeploy.util.quiet import quiet

Exporter = Literal["trace", "dynamo"]

DEFAULT_OPSET = 17
OPSETS = (13, 21)
"""Lowest and highest operator set offered: 13 is what the oldest supported TensorRT (8.5) is at
home with, 21 the newest that the trace exporter writes."""

LOWEST = {"trace": OPSETS[0], "dynamo": 18}
"""The lowest that each exporter writes."""


class Refused(NotThisWay):
    """An exporter cannot write the network."""

    def __init__(self, exporter: str, reason: str) -> None:
        self.exporter, self.reason = exporter, reason
        other = EXPORTERS[EXPORTERS[0] == exporter]
        super().__init__(
            f"torch's {exporter} exporter refuses this network ({reason})",
            f"torch's {exporter} exporter refuses it ({reason})",
            remedy=f"try --exporter {other}",
        )


def check_exporter(exporter: Exporter | None, opset: int | None) -> None:
    """See that they exist and go together.

    Raises:
        UserError: they do not.
    """
    if exporter is not None and exporter not in EXPORTERS:
        raise unknown_name("exporter", exporter, EXPORTERS)
    lowest = LOWEST[exporter or "trace"]
    if opset is not None and not lowest <= opset <= OPSETS[1]:
        raise UserError(
            f"Operator set {opset} is not offered; choose one from {lowest} to {OPSETS[1]}."
        )


def graph_of(
    network: Network,
    size: Size,
    exporter: Exporter,
    opset: int | None,
    *,
    batched: bool = True,
    fixed: bool = False,
) -> onnx.ModelProto:
    """Write a network as a simplified graph.

    Args:
        network: What to write.
        size: Height and width of the example that is followed.
        exporter: Which one.
        opset: Operator set; None: :data:`DEFAULT_OPSET`, or the lowest that the exporter writes.
        batched: It shall take any number of images at a time.
        fixed: It shall take this one size, and one image at a time.

    Raises:
        Refused: the exporter cannot write it, or what it wrote would hold for one image; the
            sentence names the operation and its layer.
    """
    count = 2 if exporter == "dynamo" and batched and not fixed else 1  # one would be a constant
    example = torch.from_numpy(photograph(network.card, size, count))
    try:
        if exporter == "dynamo":
            return _by_dynamo(network.module, example, opset, fixed=fixed)
        if read := pixel_read(network.module, example):
            raise Refused(exporter, f"{read[0]} in {place_named(read[1])}: {READS}")
        return traced_part(network.module, (example,), (INPUT,), opset, fixed=fixed)
    except Refused as error:
        raise _with_layer(error, network.module, example) from error


def traced_part(
    module: torch.nn.Module,
    examples: tuple[torch.Tensor, ...],
    names: tuple[str, ...],
    opset: int | None,
    *,
    fixed: bool = False,
) -> onnx.ModelProto:
    """A module, or a part of one, by the trace exporter; its inputs bear the given names."""
    axes = {0: "N", 2: "H", 3: "W"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traced.onnx"
        with quiet(), _refusal("trace"), Portable():
            torch.onnx.export(
                module,
                examples,
                path,
                opset_version=opset or DEFAULT_OPSET,
                dynamo=False,
                input_names=list(names),
                output_names=[OUTPUT],
                dynamic_axes=None if fixed else dict.fromkeys((*names, OUTPUT), axes),
            )
            return simplified_graph(onnx.load(path))


def _by_dynamo(
    module: torch.nn.Module, example: torch.Tensor, opset: int | None, *, fixed: bool
) -> onnx.ModelProto:
    dynamic = torch.export.Dim.DYNAMIC
    axes = {2: dynamic, 3: dynamic} | ({0: dynamic} if len(example) > 1 else {})
    with quiet(), _refusal("dynamo"), Portable():
        program = torch.onnx.export(
            module,
            (example,),
            opset_version=opset or LOWEST["dynamo"],
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=None if fixed else (axes,),
            verbose=False,
        )
        assert program is not None
        return simplified_graph(program.model_proto)


@contextlib.contextmanager
def _refusal(exporter: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise Refused(exporter, _reason(error)) from error


def _reason(error: BaseException) -> str:
    """The line that says what is wrong: the one of the cause, if there is one."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = _ADVICE.split(lines[0] if lines else type(error).__name__)[0]
    return told.rstrip(".")[:300]


_ADVICE = re.compile(r"\.* *Please feel free| *\[Caused by")
_OPERATION = re.compile(r"(?:aten(?:::|\.)|operator '?)(?!aten)(\w+)")


def _with_layer(error: Refused, module: torch.nn.Module, example: torch.Tensor) -> Refused:
    """The refusal with the layer that calls the operation, where it names one."""
    named = _OPERATION.search(error.reason)
    layer = layer_calling(module, example, named[1]) if named else None
    if named is None or layer is None:
        return error
    return Refused(error.exporter, f"{named[1]} in {layer}: {error.reason}")


def _noting(watch: type, operation: str, place: ModulePath, found: list[str]) -> Any:
    """A watch that notes in which layer an operation runs."""

    class Noting(watch):  # type: ignore[misc]
        def called(self, func: Any, args: Any, kwargs: Any) -> Any:
            if name_of(func).strip("_") == operation.strip("_"):
                found.append(str(place))
            return func(*args, **kwargs)

    return Noting()


def layer_calling(module: torch.nn.Module, example: torch.Tensor, operation: str) -> str | None:
    """The first layer that runs an operation of torch, as messages name it; None: none does.

    Args:
        module: The network.
        example: An input that it takes.
        operation: Its name without namespace: ``linalg_svd``.
    """
    place, found = ModulePath(), list[str]()
    for kind in (CallWatch, OperationWatch):  # as the code calls it, or what that comes down to
        watch = _noting(kind, operation, place, found)
        with contextlib.suppress(Exception), place.following(module), torch.no_grad(), watch:
            module(example.clone())
        if found:
            return found[0]
    return None


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
