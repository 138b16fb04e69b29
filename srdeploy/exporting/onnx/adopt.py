"""An existing ONNX file, ours or foreign, as the float32 graph that precisions are written into.

A file of ours says on its card what it is. Of a foreign one the ends are found in the graph; scale
and the sizes it takes by running it; and what its pixels run to by what it makes of a photograph.
Our passes then meet the kind of graph that our own export writes: one image in, one out, float32,
constants stored, nodes named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, inliner, numpy_helper

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.graph import simplified_graph
from srdeploy.exporting.onnx.write import opset_of
from srdeploy.exporting.precision.cast import tensor_types
from srdeploy.exporting.precision.graph import raised, renamed
from srdeploy.exporting.probe import INPUT, OUTPUT
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.importing.user_module import MULTIPLES, odd_size
from srdeploy.models.value_range import VALUE_RANGES, recognise_range
from srdeploy.runtime.card_of import card_of_onnx
from srdeploy.runtime.fitting import nearest
from srdeploy.runtime.onnx.file import NotComputed, OnnxFileSession, last_clause
from srdeploy.runtime.onnx.reference import read_whole, stored_wide
from srdeploy.runtime.open import open_session
from srdeploy.runtime.patience import patience, within
from srdeploy.runtime.session import Session
from srdeploy.util.files import sha256

LOWEST_OPSET = 13
"""The first set in which weights of 8 bits have a scale per channel."""

LATER_OPSET = 17
"""What an earlier one is raised to: what our own export writes."""

_LARGEST = 2**31 - 2**20  # bytes of weights: protobuf ends at 2 GiB
_LARGEST_VALUE = 1 << 20  # as on cards
_BASE = (24, 40)
_SIDE = 64  # of a photograph, in input pixels


@dataclass
class Adopted:
    """A file that was read.

    Attributes:
        path: The file.
        model: float32; its ends are called as ours.
        card: The file's own, or what was found out.
        precision: What the file has its weights in: ``fp32`` or ``fp16``.
        names: What the file calls its ends, by our names for them.
        origin: For the history: which file and which weights.
        notes: For people.
    """

    path: Path
    model: onnx.ModelProto
    card: Card
    precision: str
    names: dict[str, str]
    origin: dict[str, str]
    notes: list[str] = field(default_factory=list)


def adopt(
    path: str | Path, *, value_range: float | None = None, scale: int | None = None
) -> Adopted:
    """Read an ONNX file.

    Args:
        path: The file.
        value_range: Pixels run from 0 to this, for a file without a card; None: what a photograph
            shows.
        scale: For a file without a card that returns images as large as it takes.

    Raises:
        UserError: what :func:`srdeploy.runtime.open.open_session` refuses, operators that one
            runtime alone has, layers in 8 bits or bfloat16, control flow, several images at a
            time, a range that nothing shows, or types that cannot be inferred.
    """
    path = Path(path)
    if value_range is not None and not 0 < value_range <= _LARGEST_VALUE:
        raise UserError(f"--value-range is what pixels run to, 1 or 255, not {value_range:g}.")
    with open_original(path, value_range, scale) as session:
        model = read_whole(path)
        _require_convertible(model, path)
        notes: list[str] = []
        card = card_of_onnx(path) or _described(path, session, value_range, notes)
    digest = sha256(path)
    kinds = {tensor.data_type for tensor in _stored(model)}
    model = _tidy(model, path, card)
    ends = {INPUT: model.graph.input[0].name, OUTPUT: model.graph.output[0].name}
    model = renamed(model, {there: ours for ours, there in ends.items()})
    if card.quantised is not None:
        notes.append(
            "what fine-tuning for 8 bits learned belongs to the network: export that to use it; "
            "here ranges are found anew"
        )
    half = TensorProto.FLOAT16 in kinds
    if half:
        notes.append("its weights were rounded to fp16 before; they are what is compared with")
    tensors = {
        t.name: torch.from_numpy(np.array(numpy_helper.to_array(t)))
        for t in model.graph.initializer
        if t.data_type == TensorProto.FLOAT
    }
    known = any("weights_sha256" in entry for entry in card.history)
    identity = {} if known else {"weights_sha256": weights_sha256(tensors)}
    origin = {"parent_sha256": digest, **identity}
    return Adopted(path, model, card, "fp16" if half else "fp32", ends, origin, notes)


def open_original(
    path: Path, value_range: float | None = None, scale: int | None = None
) -> OnnxFileSession:
    """A session in onnxruntime, which reads files more strictly than anything else.

    Raises:
        UserError: as :func:`adopt`.
    """
    try:
        session = open_session(
            path,
            runtime="onnxruntime",
            threads=1,
            value_range=value_range or VALUE_RANGES[0],
            scale=scale,
        )
    except NotComputed as error:
        raise UserError(
            f"'{path}' is in bf16 already; give the fp32 file that it was made from."
        ) from error
    assert isinstance(session, OnnxFileSession)
    if session.batch not in (None, 1):
        session.close()
        raise UserError(
            f"'{path}' takes {session.batch} images at a time and no other number; export it with "
            "a batch of 1 or a free one."
        )
    return session


def _described(path: Path, session: Session, value_range: float | None, notes: list[str]) -> Card:
    """The card of a file that has none; what is doubtful goes to the notes."""
    assumed = []
    card = session.card.model_copy(update={"size_multiple": _multiple(session)})
    shown = _shown_range(session, card)
    if value_range is None:
        if shown is None:
            raise UserError(
                f"Nothing in '{path}' tells whether its pixels run to 1 or 255, and fed with "
                "either it is no better than bicubic, or as good; give --value-range."
            )
        assumed.append(f"pixel values run from 0 to {shown:g} (fed so, it beats bicubic)")
        value_range = shown
    elif shown not in (None, value_range):
        notes.append(
            f"with pixels to {value_range:g}, as was said, it is worse than with {shown:g}, where "
            f"it beats bicubic: is --value-range {shown:g} meant?"
        )
    card = card.model_copy(update={"value_range": float(value_range)})
    return card.step(
        step="import",
        file=path.name,
        sha256=sha256(path),
        recognised_as="an ONNX file of others",
        assumed=assumed,
    )


def _shown_range(session: Session, card: Card) -> float | None:
    side = -(-_SIDE // card.size_multiple) * card.size_multiple
    size = (side, side) if session.sizes is None else nearest(session.sizes, side, side)
    return recognise_range(session.run, card, size)


def _multiple(session: Session) -> int:
    """What height and width must be multiples of; 1 where the sizes are fixed anyway."""
    if session.sizes is not None:
        return 1
    first: SrdeployError | None = None
    for multiple in MULTIPLES:
        x = np.full((1, session.card.channels, *odd_size(_BASE, multiple)), 0.5, np.float32)
        try:
            session.run(x)
        except SrdeployError as error:  # the runtime's refusal, or an output of another size
            first = first or error
        else:
            return multiple
    assert first is not None
    raise first


_ROUNDED = {
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
}


def _require_convertible(model: onnx.ModelProto, path: Path) -> None:
    for node in model.graph.node:
        name = f"{node.op_type} '{node.name}'" if node.name else node.op_type
        if node.domain not in ("", "ai.onnx") and not _is_function(model, node):
            raise UserError(
                f"'{path}' holds operators that one runtime alone has ({name} of "
                f"'{node.domain}'); give the file as it was before it was optimised for that."
            )
        if node.op_type in _ROUNDED:
            raise UserError(
                f"'{path}' holds layers in 8 bits already ({name}); give the fp32 file that it "
                "was made from."
            )
        if any(a.type in _GRAPHS for a in node.attribute):
            raise UserError(
                f"'{path}' chooses what it computes while it runs ({name}), so its layers cannot "
                "be converted; export it without branches and loops (SMSR: without --sparse)."
            )
    if sum(len(tensor.raw_data) for tensor in _stored(model)) > _LARGEST:
        raise UserError(f"'{path}' has more than 2 GB of weights, which one ONNX file cannot hold.")


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _is_function(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    return any((f.domain, f.name) == (node.domain, node.op_type) for f in model.functions)


def _stored(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Stored tensors, whether as initialisers or as the values of Constant nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant":
            yield from (a.t for a in node.attribute if a.name == "value")


def _tidy(model: onnx.ModelProto, path: Path, card: Card) -> onnx.ModelProto:
    """As our own export would have written it."""
    if model.functions:
        model = inliner.inline_local_functions(model)
        _require_convertible(model, path)
    stored_wide(model, TensorProto.FLOAT16)
    graph = model.graph
    del graph.value_info[:]
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]  # as before IR 4
    del graph.input[:]
    graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 8)
    if opset_of(model) < LOWEST_OPSET:
        model = raised(model, LATER_OPSET, f"Converting '{path}' needs")
    try:
        model = within(patience(), lambda: simplified_graph(model), f"'{path}' was not simplified")
    except SrdeployError:
        raise
    except Exception as error:  # onnxsim's, from C++
        raise UserError(f"'{path}' cannot be simplified ({last_clause(error)}).") from error
    _name_nodes(model.graph)
    _state_sizes(model.graph, card)
    known = tensor_types(model)
    for node in model.graph.node:
        if untold := [name for name in node.output if name and name not in known]:
            raise UserError(
                f"The type of '{untold[0]}' in '{path}' cannot be inferred ({node.op_type}), so "
                "its layers cannot be converted."
            )
    return model


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Every node has a name of its own: passes know them by it."""
    taken: set[str] = set()
    for number, node in enumerate(graph.node):
        name = node.name or f"{node.op_type}_{number}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)


def _state_sizes(graph: onnx.GraphProto, card: Card) -> None:
    """State channels, and what comes out as far as it follows from what goes in."""
    given, made = (v.type.tensor_type.shape for v in (graph.input[0], graph.output[0]))
    given.dim[1].dim_value = card.channels
    names = [dimension.dim_param for dimension in made.dim]
    del made.dim[:]
    for position, dimension in enumerate(given.dim):
        factor = card.network_scale if position > 1 else 1
        out = made.dim.add()
        if dimension.dim_value:
            out.dim_value = dimension.dim_value * factor
        elif position == 0:
            out.dim_param = dimension.dim_param
        elif position < len(names) and names[position]:
            out.dim_param = names[position]
        else:
            out.dim_param = f"{dimension.dim_param or 'HW'[position - 2]}*{factor}"
