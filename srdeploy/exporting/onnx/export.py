"""Network -> ONNX: traced, simplified, named, and checked against torch."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import onnx

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.layer_differences import parting
from srdeploy.exporting.onnx.graph import Exporter, check_exporter, graph_of, traced_part
from srdeploy.exporting.onnx.write import TOLERANCES, Draft, too_coarse, write_onnx
from srdeploy.exporting.parity import Reference, check_parity_of
from srdeploy.exporting.precision.bf16 import OPSET as BF16_OPSET
from srdeploy.exporting.precision.quantise_names import from_card, is_stale
from srdeploy.exporting.precision.request import request_of
from srdeploy.exporting.probe import missing, trace_operations
from srdeploy.exporting.range_folding import fold_range
from srdeploy.exporting.report import ExportReport, Parity
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.quantised import Activations, Method
from srdeploy.models.registry import architecture_of_module
from srdeploy.runtime.open import open_session


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
        pixel_shuffle: A form of :mod:`srdeploy.exporting.onnx.lower`, or ``"auto"``: the fastest in
            onnxruntime here.
        accept: ``"trt"``: NVIDIA's parser must accept the file.
        check: Run it in onnxruntime at several sizes and compare with torch; in another precision
            than fp32, also measure on ``data`` what it loses.
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``mixed``.
        calibration: Images that ranges are found on. This and what follows are not for fp32; they
            are the fields of :class:`srdeploy.exporting.precision.request.PrecisionRequest`.
        calibration_method: How many extremes 8 bits leave out; int8 and mixed.
        activations: ``uint8`` or ``int8``; int8 and mixed. Default: ``int8`` with ``accept``.
        max_drop: dB of PSNR that may be lost on ``data``.
        data: Benchmark set that the loss is measured on.
        sparse: The form that skips pixels, fp32 only, of architectures that have one (SMSR,
            :mod:`srdeploy.exporting.onnx.smsr`); else it is the form with static shapes.

    Returns:
        The report; ``parity`` is None with ``check=False``, and the notes say so.

    Raises:
        UserError: an operator set or a precision that is not offered, an option that does not go
            with the precision, or an unwritable path.
        SrdeployError: torch can't export the network, a PixelShuffle was lost on the way, the
            parser refuses the file, it differs from torch by more than
            :data:`~srdeploy.exporting.onnx.write.TOLERANCES`, or loses more than ``max_drop``.
    """
    started = time.perf_counter()
    if precision == "bf16" and opset not in (None, BF16_OPSET):
        raise UserError(f"bf16 needs operator set {BF16_OPSET}; leave --opset out.")
    opset = None if precision == "bf16" else opset
    check_exporter(exporter, opset)
    request = request_of(
        precision,
        accept=accept,
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
    architecture = architecture_of_module(network.module)
    source = architecture.inference_form(network)
    if precision == "fp16":
        folded = fold_range(source)
        source = folded.network
        notes.append(folded.note())
    if sparse:
        trace_sparse = architecture.sparse_tracer()
        if trace_sparse is None:
            raise UserError(
                f"The sparse form is SMSR's, this network is {network.card.arch}; "
                "leave --sparse out."
            )
        part = functools.partial(traced_part, opset=opset)
        model, note = trace_sparse(network, precision, part)
        notes.append(note)
        exporter = "trace"
    else:
        batch = 2 if reference.batched else 1
        traced = graph_of(source, example, batch, exporter, opset)
        model, exporter = traced.model, traced.exporter
        notes += traced.notes
    _check_shuffles(model, trace.shuffles)
    _name_sizes(model, network.card, batched=reference.batched)
    trained = None
    if precision in ("int8", "mixed"):
        trained = from_card(model, network)
        if is_stale(network):
            notes.append(
                "the weights changed after fine-tuning for 8 bits: its ranges are not used"
            )
    digest = weights_sha256(network.module.state_dict())
    draft = Draft(
        model,
        network.card,
        reference.sizes,
        origin={"exporter": exporter, "weights_sha256": digest},
        trained=trained,
        notes=notes,
    )
    by = exporter
    return write_onnx(
        draft,
        path,
        request,
        (lambda file, kind: check_parity(reference, file, kind, by)) if check else None,
        pixel_shuffle=pixel_shuffle,
        accept=accept,
        started=started,
    )


def check_parity(
    network: Network | Reference, path: str | Path, precision: str = "fp32", exporter: str = "trace"
) -> Parity:
    """Compare an ONNX file with torch on photographs of several sizes (:mod:`.parity`).

    Args:
        network: The reference.
        path: The exported file, card inside.
        precision: What it computes in, which decides how far it may be off
            (:data:`~srdeploy.exporting.onnx.write.TOLERANCES`).
        exporter: Which exporter wrote it.

    Raises:
        SrdeployError: beyond the tolerance, or onnxruntime cannot run it.
    """
    reference = Reference.of(network) if isinstance(network, Network) else network
    other = "dynamo" if exporter == "trace" else "trace"
    with open_session(path, threads=1) as session:
        return check_parity_of(
            reference,
            session.run,
            TOLERANCES[precision],
            what="The ONNX file",
            remedy=f"or try --exporter {other}",
            coarse=too_coarse(precision),
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
