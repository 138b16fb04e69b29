"""Network -> ONNX: traced, simplified, named, labelled and checked against torch.

The float32 graph is checked first; another precision (:mod:`srdeploy.export.precision`) is written
into it afterwards, and compared again.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections import Counter
from pathlib import Path

import onnx

from srdeploy import __version__
from srdeploy.errors import SrdeployError, UserError
from srdeploy.export.diverge import parting
from srdeploy.export.fold import fold_range
from srdeploy.export.lower import choose_form, lower_pixel_shuffle
from srdeploy.export.onnx_graph import Exporter, check_exporter, graph_of, traced_part
from srdeploy.export.parity import Reference, check_parity_of
from srdeploy.export.precision import write_precision
from srdeploy.export.precision_bf16 import OPSET as BF16_OPSET
from srdeploy.export.precision_request import request_of
from srdeploy.export.probe import TOLERANCE, missing, trace_operations
from srdeploy.export.quantise_names import from_card, is_stale
from srdeploy.export.report import ExportReport, Parity, artifact_facts, tool_versions
from srdeploy.export.smsr_onnx import SPARSE_NOTE, trace_sparse
from srdeploy.export.targets import AUTO, PIXEL_SHUFFLES
from srdeploy.export.trt_accept import require_acceptance
from srdeploy.files import atomic_path
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.quantised import Activations, Method
from srdeploy.runtime.open import open_session
from srdeploy.sparse.dense import dense_masks

TOLERANCES = {"fp32": TOLERANCE, "fp16": 1e-2, "bf16": 5e-2, "int8": 0.5, "mixed": 0.5}
"""Largest |difference| from torch over the value range. Of 8 bits single pixels tell little: there
the mean loss on images is what counts."""

TOOLS = ("torch", "onnx", "onnxsim", "onnxruntime")


def export_onnx(
    network: Network,
    path: str | Path,
    *,
    opset: int | None = None,
    exporter: Exporter | None = None,
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
        exporter: ``"trace"`` or ``"dynamo"`` (torch.export; operator set 18 or more); None: the
            first, and the second where that refuses.
        pixel_shuffle: A form of :mod:`srdeploy.export.lower`, or ``"auto"``: the fastest in
            onnxruntime here.
        accept: ``"trt"``: NVIDIA's parser must accept the file.
        check: Run it in onnxruntime at several sizes and compare with torch; in another precision
            than fp32, also measure on ``data`` what it loses.
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
    opset = None if precision == "bf16" else opset
    check_exporter(exporter, opset)
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
    reference = Reference.of(network)
    example = reference.sizes[0]
    trace = trace_operations(network, example)
    notes = []
    source = dense_masks(network)
    if precision == "fp16":
        folded = fold_range(source)
        source = folded.network
        notes.append(folded.note())
    if sparse:
        model = trace_sparse(network, precision, functools.partial(traced_part, opset=opset))
        notes.append(SPARSE_NOTE)
        exporter = "trace"
    else:
        batch = 2 if reference.batched else 1
        traced = graph_of(source, example, batch, exporter, opset)
        model, exporter = traced.model, traced.exporter
        notes += traced.notes
    opset = _opset(model)
    _check_shuffles(model, trace.shuffles)
    _name_sizes(model, network.card, batched=reference.batched)
    written = None
    if precision != "fp32":
        if check:
            _check_float(reference, model, exporter)
        rounds = precision in ("int8", "mixed")
        trained = from_card(model, network) if rounds else None
        if rounds and is_stale(network):
            notes.append(
                "the weights changed after fine-tuning for 8 bits: its ranges are not used"
            )
        written = write_precision(model, network.card, request, trained=trained, measure=check)
        model = written.model
        opset = _opset(model)
        notes += written.notes
    if pixel_shuffle == AUTO:
        choice = choose_form(model, PIXEL_SHUFFLES, example, measure=precision != "bf16")
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
            "sizes": [[*size] for size in reference.sizes],
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
        parity = check_parity(reference, temporary, precision, exporter) if check else None
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


def _check_float(reference: Reference, model: onnx.ModelProto, exporter: str) -> None:
    """The float32 graph that a precision is written into must be the network itself."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    _label(plain, reference.card)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(plain.SerializeToString())
        check_parity(reference, path, exporter=exporter)


def check_parity(
    network: Network | Reference, path: str | Path, precision: str = "fp32", exporter: str = "trace"
) -> Parity:
    """Compare an ONNX file with torch on photographs of several sizes (:mod:`.parity`).

    Args:
        network: The reference.
        path: The exported file, card inside.
        precision: What it computes in, which decides how far it may be off (:data:`TOLERANCES`).
        exporter: Which exporter wrote it.

    Raises:
        SrdeployError: beyond the tolerance, or onnxruntime cannot run it.
    """
    reference = Reference.of(network) if isinstance(network, Network) else network
    coarse = (
        ""
        if precision == "fp32"
        else f"in fp32 they agree, so {precision} is too coarse for these weights (are they "
        "trained?); choose another precision"
    )
    other = "dynamo" if exporter == "trace" else "trace"
    with open_session(path, threads=1) as session:
        return check_parity_of(
            reference,
            session.run,
            TOLERANCES[precision],
            what="The ONNX file",
            remedy=f"or try --exporter {other}",
            coarse=coarse,
            parting=lambda x: parting(reference.network, path, x),
        )


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


def _opset(model: onnx.ModelProto) -> int:
    return next(int(one.version) for one in model.opset_import if not one.domain)


def _name_sizes(model: onnx.ModelProto, card: Card, *, batched: bool) -> None:
    factor = f"*{card.network_scale}" if card.network_scale > 1 else ""
    for value, (height, width) in (
        (model.graph.input[0], ("H", "W")),
        (model.graph.output[0], (f"H{factor}", f"W{factor}")),
    ):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for size in ("N" if batched else 1, card.channels, height, width):
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
