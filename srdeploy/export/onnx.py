"""Network -> ONNX: traced, simplified, named, labelled and checked against torch.

The float32 graph is checked first; another precision (:mod:`srdeploy.export.precision`) is written
into it afterwards, and compared again.

The trace exporter is the default: against ``torch.export``'s it is twenty times faster, keeps the
operator set asked for (17, which TensorRT 8.6 still reads; the other one writes 18 at least),
names nodes after the network's modules (so that a layer can be chosen by name later), and leaves
pixel unshuffles and slices without shape arithmetic. What a trace can get wrong, sizes and
branches baked in, the parity check at two sizes finds. ``exporter="dynamo"`` remains for networks
that only ``torch.export`` understands.
"""

from __future__ import annotations

import contextlib
import functools
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import onnx
import onnxsim
import torch

from srdeploy import __version__
from srdeploy.errors import SrdeployError, UserError
from srdeploy.export.diverge import parting
from srdeploy.export.fold import fold_range
from srdeploy.export.lower import choose_form, lower_pixel_shuffle
from srdeploy.export.precision import write_precision
from srdeploy.export.precision_bf16 import OPSET as BF16_OPSET
from srdeploy.export.precision_request import request_of
from srdeploy.export.probe import (
    INPUT,
    OUTPUT,
    TOLERANCE,
    gap_between,
    missing,
    probe_input,
    probe_sizes,
    run_torch,
    trace_operations,
)
from srdeploy.export.quantise_names import from_card, is_stale
from srdeploy.export.report import ExportReport, Parity, artifact_facts, parity_of, tool_versions
from srdeploy.export.smsr_onnx import SPARSE_NOTE, trace_sparse
from srdeploy.export.targets import AUTO, PIXEL_SHUFFLES
from srdeploy.export.trt_accept import require_acceptance
from srdeploy.files import atomic_path
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.quantised import Activations, Method
from srdeploy.quiet import quiet
from srdeploy.runtime.open import open_session
from srdeploy.sparse.dense import dense_masks

Exporter = Literal["trace", "dynamo"]

DEFAULT_OPSET = 17
OPSETS = (13, 21)
"""Lowest and highest operator set offered: 13 is what the oldest supported TensorRT (8.5) is at
home with, 21 the newest that the trace exporter writes."""

TOLERANCES = {"fp32": TOLERANCE, "fp16": 1e-2, "bf16": 5e-2, "int8": 0.5, "mixed": 0.5}
"""Largest |difference| from torch over the value range, on noise. Of 8 bits noise tells little, for
it is clipped as no picture is: there the loss on images is what counts."""

TOOLS = ("torch", "onnx", "onnxsim", "onnxruntime")


def export_onnx(
    network: Network,
    path: str | Path,
    *,
    opset: int | None = None,
    exporter: Exporter = "trace",
    pixel_shuffle: str = "crd",
    accept: str | None = None,
    check: bool = True,
    precision: str = "fp32",
    calibration: str | None = None,
    calibration_method: Method | None = None,
    activations: Activations | None = None,
    max_drop: float | None = None,
    data: str | None = None,
    sparse: bool = False,
) -> ExportReport:
    """Write one self-contained ONNX file; its ends are float32 in every precision.

    Input ``lr``: float32 [N, C, H, W] in 0..value_range; output ``sr``: [N, C, H*s, W*s], with
    exactly these dimension names (s = 2, 3...; a pre-upscaled network has H and W on both sides).
    The batch is dynamic too: runtimes that want fixed sizes can pin any named dimension, whereas
    a fixed one can't be freed. The card lies in the metadata under ``srdeploy.card``.
    Equal networks and tools give equal bytes.

    Args:
        network: What to export; float32, on the CPU.
        path: Where to; replaced only when everything has succeeded.
        opset: ONNX operator set, within :data:`OPSETS`; bf16 has one of its own, 22.
        exporter: ``"trace"`` or ``"dynamo"`` (torch.export; operator set 18 or more).
        pixel_shuffle: A form of :mod:`srdeploy.export.lower`, or ``"auto"``: the fastest in
            onnxruntime here.
        accept: ``"trt"``: NVIDIA's parser must accept the file.
        check: Run it in onnxruntime at two sizes and compare with torch; in another precision than
            fp32, also measure on ``data`` what it loses.
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``mixed``.
        calibration: Images that ranges are found on. This and what follows are not for fp32; they
            are the fields of :class:`srdeploy.export.precision_request.PrecisionRequest`.
        calibration_method: How many extremes 8 bits leave out; int8 and mixed.
        activations: ``uint8`` or ``int8``; int8 and mixed. Default: ``int8`` with ``accept``.
        max_drop: dB of PSNR that may be lost on ``data``.
        data: Benchmark set that the loss is measured on.
        sparse: SMSR in the form that skips pixels (:mod:`srdeploy.export.smsr_onnx`), fp32 only;
            else it is dense-with-masks, with static shapes.

    Returns:
        The report; ``parity`` is None with ``check=False``, and the notes say so.

    Raises:
        UserError: an operator set or a precision that is not offered, an option that does not go
            with the precision, or an unwritable path.
        SrdeployError: torch can't export the network, a PixelShuffle was lost on the way, the
            parser refuses the file, it differs from torch by more than :data:`TOLERANCES`, or
            loses more than ``max_drop``.
    """
    started = time.perf_counter()
    if precision == "bf16" and opset not in (None, BF16_OPSET):
        raise UserError(f"bf16 needs operator set {BF16_OPSET}; leave --opset out.")
    lowest = max(OPSETS[0], 18) if exporter == "dynamo" else OPSETS[0]
    opset = max(DEFAULT_OPSET, lowest) if precision == "bf16" or opset is None else opset
    if not lowest <= opset <= OPSETS[1]:
        raise UserError(
            f"Operator set {opset} is not offered; choose one from {lowest} to {OPSETS[1]}."
        )
    if accept is not None and precision in ("int8", "mixed"):
        activations = activations or "int8"  # TensorRT reads no others
    request = request_of(
        precision,
        calibration=calibration,
        method=calibration_method,
        activations=activations,
        max_drop=max_drop,
        data=data,
    )
    if sparse and accept is not None:
        raise UserError(
            "TensorRT reads no sparse form: what it computes has no sizes before a mask is known; "
            "leave --sparse or --check out."
        )
    trace = trace_operations(network)
    notes = []
    source = dense_masks(network)
    if precision == "fp16":
        folded = fold_range(source)
        source = folded.network
        notes.append(folded.note())
    if sparse:
        trace_part = functools.partial(_traced_part, opset=opset)
        model = trace_sparse(network, precision, trace_part)
        notes.append(SPARSE_NOTE)
    elif exporter == "trace":
        model = _simplify(_from_trace(source, opset))
    else:
        model = _simplify(_from_dynamo(source, opset))
    _check_shuffles(model, trace.shuffles)
    _name_sizes(model, network.card)
    written = None
    if precision != "fp32":
        if check:
            _check_float(network, model)
        rounds = precision in ("int8", "mixed")
        trained = from_card(model, network) if rounds else None
        if rounds and is_stale(network):
            notes.append(
                "the weights changed after fine-tuning for 8 bits: its ranges are not used"
            )
        written = write_precision(model, network.card, request, trained=trained, measure=check)
        model = written.model
        opset = model.opset_import[0].version
        notes += written.notes
    if pixel_shuffle == AUTO:
        choice = choose_form(
            model, PIXEL_SHUFFLES, probe_sizes(network.card)[-1], measure=precision != "bf16"
        )
        pixel_shuffle = choice.form
        notes.append(choice.note())
    model = lower_pixel_shuffle(model, pixel_shuffle)
    card = network.card.step(
        step="export",
        target="onnx",
        precision=precision,
        opset=opset,
        exporter=exporter,
        pixel_shuffle=pixel_shuffle,
        weights_sha256=weights_sha256(network.module.state_dict()),
        parity={
            "tolerance": TOLERANCES[precision],
            "sizes": [[*s] for s in probe_sizes(network.card)],
        }
        if check
        else None,
        tools=tool_versions(TOOLS),
        **(written.facts if written else {}),
    )
    _label(model, card)
    if not check:
        notes.append("parity with torch was not checked (check=False)")
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
        onnx.checker.check_model(str(temporary), full_check=True)
        parity = check_parity(network, temporary, precision) if check else None
        if accept is not None:
            notes.append(require_acceptance(temporary.read_bytes(), accept))
    return ExportReport(
        target="onnx",
        path=str(path),
        **artifact_facts(Path(path)),
        precision=precision,
        opset=opset,
        parity=parity,
        operators=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        tools=tool_versions(TOOLS),
        seconds=round(time.perf_counter() - started, 3),
        notes=notes,
        layers=written.layers if written else [],
        quality=written.quality if written else None,
    )


def _check_float(network: Network, model: onnx.ModelProto) -> None:
    """The float32 graph that a precision is written into must be the network itself."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    _label(plain, network.card)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(plain.SerializeToString())
        check_parity(network, path)


def check_parity(network: Network, path: str | Path, precision: str = "fp32") -> Parity:
    """Compare an ONNX file with torch at two sizes, the second with a batch of two.

    Args:
        network: The reference.
        path: The exported file, card inside.
        precision: What it computes in, which decides how far it may be off (:data:`TOLERANCES`).

    Raises:
        SrdeployError: beyond the tolerance, or onnxruntime cannot run it.
    """
    gaps = []
    card, tolerance = network.card, TOLERANCES[precision]
    sizes = probe_sizes(card)
    with open_session(path, threads=1) as session:
        for batch, size in enumerate(sizes, start=1):
            x = probe_input(card, size, batch)
            expected = run_torch(network, x)
            found = session.run(x)
            if found.shape != expected.shape:
                raise SrdeployError(
                    f"The ONNX file turns {x.shape} into {found.shape}, torch into "
                    f"{expected.shape}: a size was baked in; try exporter 'dynamo'."
                )
            gaps.append(gap := gap_between(expected, found, card))
            if not gap.within(tolerance, card):
                remedy = (
                    "try exporter 'dynamo', and report this network"
                    if precision == "fp32"
                    else f"in fp32 they agree, so {precision} is too coarse for these weights (are "
                    "they trained?); choose another precision"
                )
                raise SrdeployError(
                    f"The ONNX file differs from torch by {gap.largest:.3g} at input "
                    f"{size[1]}x{size[0]}, more than {tolerance:g} of the value "
                    f"range{parting(network, path, x)}; {remedy}."
                )
    return parity_of(gaps, sizes)


def _from_trace(network: Network, opset: int) -> onnx.ModelProto:
    example = torch.from_numpy(probe_input(network.card, probe_sizes(network.card)[0]))
    return _trace(network.module, (example,), (INPUT,), opset)


def _traced_part(
    module: torch.nn.Module, examples: tuple[torch.Tensor, ...], names: tuple[str, ...], opset: int
) -> onnx.ModelProto:
    """A part of a network, simplified; its inputs bear the given names."""
    return _simplify(_trace(module, examples, names, opset))


def _trace(
    module: torch.nn.Module, examples: tuple[torch.Tensor, ...], names: tuple[str, ...], opset: int
) -> onnx.ModelProto:
    axes = {0: "N", 2: "H", 3: "W"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traced.onnx"
        with quiet(), _exporter_errors("trace"):
            torch.onnx.export(
                module,
                examples,
                path,
                opset_version=opset,
                dynamo=False,
                input_names=list(names),
                output_names=[OUTPUT],
                dynamic_axes=dict.fromkeys((*names, OUTPUT), axes),
            )
        return onnx.load(path)


def _from_dynamo(network: Network, opset: int) -> onnx.ModelProto:
    # A batch of two, because torch.export turns a dimension of one into a constant.
    size = probe_sizes(network.card)[0]
    example = torch.from_numpy(probe_input(network.card, size, batch=2))
    dynamic = torch.export.Dim.DYNAMIC
    with quiet(), _exporter_errors("dynamo"):
        program = torch.onnx.export(
            network.module,
            (example,),
            opset_version=opset,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},),
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _exporter_errors(exporter: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        first = str(error).strip().splitlines()
        other = "dynamo" if exporter == "trace" else "trace"
        raise SrdeployError(
            f"torch's {exporter} exporter refuses this network "
            f"({first[0] if first else type(error).__name__}); try exporter '{other}'."
        ) from error


def _simplify(model: onnx.ModelProto) -> onnx.ModelProto:
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


def _check_shuffles(model: onnx.ModelProto, expected: list[int]) -> None:
    """Every pixel shuffle that torch ran must be a DepthToSpace(CRD) of the same factor."""
    found = []
    for node in model.graph.node:
        if node.op_type != "DepthToSpace":
            continue
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if attributes.get("mode", b"DCR") != b"CRD":
            raise SrdeployError(
                f"'{node.name}' became DepthToSpace in DCR order, which would mix the colours; "
                "report this network, it is a fault in the export."
            )
        found.append(int(attributes["blocksize"]))
    if lost := missing(expected, found):
        raise SrdeployError(
            f"PixelShuffle by {', '.join(str(n) for n in lost)} did not become DepthToSpace; "
            "report this network, it is a fault in the export."
        )


def _name_sizes(model: onnx.ModelProto, card: Card) -> None:
    factor = f"*{card.network_scale}" if card.network_scale > 1 else ""
    for value, (height, width) in (
        (model.graph.input[0], ("H", "W")),
        (model.graph.output[0], (f"H{factor}", f"W{factor}")),
    ):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for size in ("N", card.channels, height, width):
            dimension = shape.dim.add()
            if isinstance(size, int):
                dimension.dim_value = size
            else:
                dimension.dim_param = size


def _label(model: onnx.ModelProto, card: Card) -> None:
    model.producer_name = "srdeploy"
    model.producer_version = __version__
    model.graph.name = card.arch.replace(":", ".")
    onnx.helper.set_model_props(model, {CARD_KEY: card.to_json()})
