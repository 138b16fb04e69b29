"""Network -> ONNX: traced, simplified, named, and checked against torch."""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from pathlib import Path

import onnx

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.fallback import NotThisWay, first_that_works, one_asked
from srdeploy.exporting.layer_differences import parting
from srdeploy.exporting.onnx.exact import in_float64
from srdeploy.exporting.onnx.graph import Exporter, check_exporter, graph_of, traced_part
from srdeploy.exporting.onnx.ways import OnnxWay, reference_for, ways_to_onnx
from srdeploy.exporting.onnx.write import TOLERANCES, Draft, too_coarse, write_onnx
from srdeploy.exporting.parity import Apart, Reference, check_parity_of
from srdeploy.exporting.precision.bf16 import OPSET as BF16_OPSET
from srdeploy.exporting.precision.quantise_names import from_card, is_stale
from srdeploy.exporting.precision.request import request_of
from srdeploy.exporting.probe import missing, trace_operations
from srdeploy.exporting.range_folding import fold_range
from srdeploy.exporting.report import ExportReport, Parity
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.probes import Size
from srdeploy.models.quantised import Activations, Method
from srdeploy.models.registry import architecture_of_module
from srdeploy.runtime.open import open_session
from srdeploy.runtime.sizes import InputSizes


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
    sizes: str | None = None,
    instead: Size | None = None,
) -> ExportReport:
    """Write one self-contained ONNX file; its ends are float32 in every precision.

    Input ``lr``: float32 [N, C, H, W] in 0..value_range; output ``sr``: [N, C, H*s, W*s], with
    exactly these dimension names (s = 2, 3...; a pre-upscaled network has H and W on both sides).
    The batch is dynamic too: runtimes that want fixed sizes can pin any named dimension, whereas
    a fixed one can't be freed. A network whose code is made for one size (masks of window
    attention, adaptive pooling) gets a file of one size and one image instead, and the notes say
    so (:mod:`srdeploy.exporting.onnx.ways`). The card lies in the metadata under ``srdeploy.card``.
    Equal networks and tools give equal bytes.

    Args:
        network: What to export; float32, on the CPU.
        path: Where to; replaced only when everything has succeeded.
        opset: ONNX operator set, within :data:`OPSETS`; bf16 has one of its own, 22.
        exporter: ``"trace"`` or ``"dynamo"`` (torch.export; operator set 18 or more); None: the
            first, and the second where that refuses or writes something else.
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
        sizes: The one size that the file shall take (``480x270``); None: any, if possible.
        instead: The height and width of a file that cannot take any size; default 256x256.

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
    asked = one_asked(sizes, network.card.size_multiple, "An ONNX file")
    if sparse and asked is not None:
        raise UserError("The sparse form takes any size; leave --sparse or --input out.")
    reference = Reference.of(network) if asked is None else Reference.of(network, [asked])
    trace = trace_operations(network, reference.sizes[0])
    notes = trace.notes()
    source = architecture_of_module(network.module).inference_form(network)
    if precision == "fp16":
        folded = fold_range(source)
        source = folded.network
        notes.append(folded.note())
    digest = weights_sha256(network.module.state_dict())

    def attempt(way: OnnxWay, failures: Sequence[NotThisWay]) -> ExportReport:
        held = reference if asked is not None else reference_for(way, reference, network)
        example = held.sizes[0]
        told = [*notes, *way.notes(failures)]
        if sparse:
            model, note = _sparse(network, precision, opset)
            told.append(note)
        else:
            fixed = way.size is not None
            model = graph_of(source, example, way.exporter, opset, batched=way.batched, fixed=fixed)
        _check_shuffles(model, trace.shuffles)
        _name_sizes(model, network.card, batched=way.batched, size=way.size)
        trained = None
        if precision in ("int8", "mixed"):
            trained = from_card(model, network)
            if is_stale(network):
                told.append(
                    "the weights changed after fine-tuning for 8 bits: its ranges are not used"
                )
        draft = Draft(
            model,
            network.card,
            held.sizes,
            origin={"exporter": way.exporter, "weights_sha256": digest, **_sized(way)},
            trained=trained,
            notes=told,
        )
        return write_onnx(
            draft,
            path,
            request,
            (lambda file, kind: _compared(held, file, kind, way.exporter)) if check else None,
            pixel_shuffle=pixel_shuffle,
            accept=accept,
            started=started,
        )

    if sparse:
        return attempt(OnnxWay(batched=reference.batched), ())
    ways = ways_to_onnx(
        network,
        reference.batched,
        exporter=exporter,
        opset=opset,
        asked=asked,
        instead=instead,
    )
    return first_that_works(ways, attempt, "an ONNX file")


def _sized(way: OnnxWay) -> dict[str, str]:
    """For the card: the one size of a file that takes no other."""
    return {} if way.size is None else {"sizes": str(InputSizes((way.size,)))}


def _sparse(network: Network, precision: str, opset: int | None) -> tuple[onnx.ModelProto, str]:
    trace_sparse = architecture_of_module(network.module).sparse_tracer()
    if trace_sparse is None:
        raise UserError(
            f"The sparse form is SMSR's, this network is {network.card.arch}; leave --sparse out."
        )
    return trace_sparse(network, precision, functools.partial(traced_part, opset=opset))


def _compared(reference: Reference, file: Path, precision: str, exporter: str) -> Parity:
    """The comparison; in float32 its failure is that of the way in which the file was written."""
    try:
        return check_parity(reference, file, precision, exporter)
    except Apart as error:
        if not error.curable:
            raise
        raise NotThisWay(str(error), error.short, error.probe.batch) from error
    except SrdeployError as error:
        if precision != "fp32":
            raise
        raise NotThisWay(
            str(error), f"else onnxruntime refuses it ({error})".rstrip(".")
        ) from error


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
            exact=functools.partial(in_float64, path),
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
            raise NotThisWay(
                f"'{node.name}' became DepthToSpace in DCR order, which would mix the colours; "
                "report this network, it is a fault in the export.",
                "else a PixelShuffle is lost",
            )
        found.append(int(attributes["blocksize"]))
    if lost := missing(expected, found):
        raise NotThisWay(
            f"PixelShuffle by {', '.join(str(n) for n in lost)} did not become DepthToSpace; "
            "report this network, it is a fault in the export.",
            "else a PixelShuffle is lost",
        )


def _name_sizes(
    model: onnx.ModelProto, card: Card, *, batched: bool, size: Size | None = None
) -> None:
    s = card.network_scale
    factor = f"*{s}" if s > 1 else ""
    given: Sequence[int | str] = size or ("H", "W")
    made: Sequence[int | str] = [n * s if isinstance(n, int) else f"{n}{factor}" for n in given]
    for value, sides in ((model.graph.input[0], given), (model.graph.output[0], made)):
        shape = value.type.tensor_type.shape
        del shape.dim[:]
        for length in ("N" if batched else 1, card.channels, *sides):
            dimension = shape.dim.add()
            if isinstance(length, int):
                dimension.dim_value = length
            else:
                dimension.dim_param = length
