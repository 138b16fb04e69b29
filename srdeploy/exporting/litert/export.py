"""Network or ONNX file -> LiteRT (TensorFlow Lite), for GPUs and NPUs of phones, and run here.

The program is written by srdeploy itself from the ONNX graph of one input size
(:mod:`srdeploy.exporting.litert.lower`), of operations that the GPU and NNAPI delegates take; the
file is then held against their lists (:mod:`srdeploy.exporting.litert.accept`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.fallback import one_asked
from srdeploy.exporting.litert.accept import Accepted, check_file
from srdeploy.exporting.litert.convert import Source, with_size
from srdeploy.exporting.litert.eight_bits import EightBits
from srdeploy.exporting.litert.flatbuffer import to_bytes
from srdeploy.exporting.litert.graph import Program
from srdeploy.exporting.litert.quantise import with_byte_weights, with_half_weights
from srdeploy.exporting.onnx.convert import reference_of_file
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.onnx.write import TOLERANCES, too_coarse
from srdeploy.exporting.parity import Probe, Reference, check_parity_of
from srdeploy.exporting.precision.graph import sizes_of
from srdeploy.exporting.precision.quantise_search import dearest_told, none_bearable
from srdeploy.exporting.precision.request import PrecisionRequest, request_of
from srdeploy.exporting.precision.write import MAX_DROP
from srdeploy.exporting.probe import trace_operations
from srdeploy.exporting.quality_loss import within_limit
from srdeploy.exporting.range_folding import fold_range
from srdeploy.exporting.report import ExportReport, artifact_facts, tool_versions
from srdeploy.exporting.targets import LITERT_PRECISIONS
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.probes import Size
from srdeploy.models.quantised import Method
from srdeploy.quality.evaluate import evaluate
from srdeploy.quality.result import psnr_lost
from srdeploy.runtime.fitting import fitting
from srdeploy.runtime.litert_file import CHANNELS_LAST, LAYOUT, computed_in
from srdeploy.runtime.litert_session import LitertSession
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes
from srdeploy.util.files import atomic_path

TOOLS = ("torch", "onnx", "onnxsim", "ai-edge-litert")

DEFAULT_SIZE = (270, 480)
"""Height and width unless told."""

_TOLERANCES = TOLERANCES | {"dynamic": TOLERANCES["int8"]}
_ROUNDED = ("int8", "mixed")


def export_litert(
    network: Network,
    path: str | Path,
    *,
    precision: str = "fp32",
    quantised_ends: bool = False,
    sizes: str | None = None,
    calibration: str | None = None,
    calibration_method: Method | None = None,
    max_drop: float | None = None,
    data: str | None = None,
) -> ExportReport:
    """Write a ``.tflite`` of one input size.

    Input float32 [1, H, W, C] in 0..value_range; output [1, H*s, W*s, C]. With ``quantised_ends``
    both are int8, whose grids the file holds. The card lies in the metadata under
    ``srdeploy.card``. Equal networks and tools give equal bytes.

    Args:
        network: What to export; float32, on the CPU.
        path: Where to.
        precision: ``fp32``; ``fp16``: weights in float16, and arithmetic too where a GPU has it;
            ``dynamic``: weights in 8 bits, inputs of convolutions rounded while it runs;
            ``int8``: everything that LiteRT computes in 8 bits; ``mixed``: the same but for the
            layers that cost most, as few as will do to lose no more than ``max_drop``.
        quantised_ends: Input and output in 8 bits; int8 and mixed.
        sizes: The one input size, as :meth:`InputSizes.parse` reads it; default 480x270, for a
            pre-upscaled network 1280x720.
        calibration: Images that ranges are found on; int8 and mixed, as in
            :func:`srdeploy.exporting.onnx.export.export_onnx`, and so is what follows.
        calibration_method: How many extremes 8 bits leave out.
        max_drop: dB of PSNR that may be lost on ``data``.
        data: Benchmark set that the loss is measured on.

    Raises:
        UserError: LiteRT is missing, the network cannot take the size, or has an operation that
            cannot be written.
        SrdeployError: the result differs from torch by more than the precision explains, or loses
            more than ``max_drop``.
    """
    started = time.perf_counter()
    request = _request(precision, quantised_ends, calibration, calibration_method, max_drop, data)
    card = network.card
    asked = one_asked(sizes, card.size_multiple, "A TFLite file")
    size = asked or _default_size(card)
    trace_operations(network, size)
    notes, source = [], network
    if precision == "fp16":
        folded = fold_range(network)
        source = folded.network
        notes.append(folded.note())

    if precision in _ROUNDED and card.quantised is not None:
        notes.append(
            "what fine-tuning for 8 bits learned is of fewer tensors than are rounded here: ranges "
            "are found anew"
        )

    def graph_at(one: Size) -> onnx.ModelProto:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "net.onnx"
            export_onnx(source, made, check=False, sizes=f"{one[1]}x{one[0]}")
            return onnx.load(str(made))

    factor = card.scale if card.pre_upscaled else 1
    work = Source(graph_at, size, card.size_multiple, factor)
    origin = {"weights_sha256": weights_sha256(network.module.state_dict())}
    job = _Job(work, card, request, quantised_ends, origin, network, notes, started)
    return job.written(Path(path), Reference.of(network, [size]))


def convert_onnx_to_litert(
    source: Path,
    path: str | Path,
    *,
    precision: str = "fp32",
    quantised_ends: bool = False,
    sizes: str | None = None,
    calibration: str | None = None,
    calibration_method: Method | None = None,
    max_drop: float | None = None,
    data: str | None = None,
    value_range: float | None = None,
    scale: int | None = None,
) -> ExportReport:
    """The same of an ONNX file, ours or foreign; its range stays.

    Args:
        source: The file; float32 or float16.
        path: As :func:`export_litert`.
        precision: Likewise.
        quantised_ends: Likewise.
        sizes: Likewise; default: the file's own size, if it has one.
        calibration: Likewise.
        calibration_method: Likewise.
        max_drop: Likewise.
        data: Likewise.
        value_range: As :func:`srdeploy.exporting.onnx.convert.convert_onnx`.
        scale: Likewise.

    Raises:
        UserError: as :func:`export_litert`, or a file that cannot be converted.
        SrdeployError: as :func:`export_litert`.
    """
    started = time.perf_counter()
    request = _request(precision, quantised_ends, calibration, calibration_method, max_drop, data)
    with reference_of_file(source, value_range, scale) as (found, reference, original):
        card, own = found.card, sizes_of(found.model)
        asked = one_asked(sizes, card.size_multiple, "A TFLite file")
        if own is not None and asked is not None and not own.allows(*asked):
            raise UserError(f"'{source}' takes {own} only; leave --input out.")
        size = asked or (own.listed[0] if own is not None and own.fixed else _default_size(card))
        reference.probes = [Probe(size), Probe(size, picture=1)]
        reference.leave_out_what_fails()

        def graph_at(one: Size) -> onnx.ModelProto:
            if own is not None and own.fixed and one != own.listed[0]:
                raise UserError(f"'{source}' takes {own} only.")
            return with_size(found.model, one)

        factor = card.scale if card.pre_upscaled else 1
        work = Source(graph_at, size, card.size_multiple, factor)
        job = _Job(
            work, card, request, quantised_ends, found.origin, original, [*found.notes], started
        )
        return job.written(Path(path), reference)


def _request(
    precision: str, ends: bool, calibration: str | None, method: Method | None,
    max_drop: float | None, data: str | None,
) -> PrecisionRequest:  # fmt: skip
    if ends and precision not in _ROUNDED:
        raise UserError("--quantised-ends goes with --precision int8 and mixed; leave it out.")
    return request_of(
        precision, precisions=LITERT_PRECISIONS, calibration=calibration, method=method,
        max_drop=max_drop, data=data,
    )  # fmt: skip


def _default_size(card: Card) -> Size:
    height, width = (720, 1280) if card.pre_upscaled else DEFAULT_SIZE
    m = card.size_multiple
    return -(-height // m) * m, -(-width // m) * m


@dataclass
class _Job:
    """One file that is being written."""

    source: Source
    card: Card
    request: PrecisionRequest
    ends: bool
    origin: dict[str, str]
    original: Network | Session
    notes: list[str]
    started: float
    before: Any = None

    def written(self, path: Path, reference: Reference) -> ExportReport:
        """Write it, compare it, hold it against the delegates' lists and measure what it loses."""
        precision = self.request.precision
        program, rows = self._program()
        card = self._card()
        with atomic_path(path) as temporary:
            temporary.write_bytes(to_bytes(program, card))
            layers = {op.output.name: op.layer for op in program.ops}
            accepted = check_file(temporary, layers)
            card = self._card(delegates=accepted.recorded())
            temporary.write_bytes(to_bytes(program, card))
            with LitertSession(temporary, threads=1) as session:
                parity = check_parity_of(
                    reference, session.run, _TOLERANCES[precision], what="The TFLite file",
                    coarse=too_coarse(precision),
                )  # fmt: skip
            self._check_precision(computed_in(temporary))
        report = self._report(path, accepted, rows)
        report = replace(report, parity=parity)
        if precision == "fp32":
            return report
        return within_limit(
            report, self.original, self.request.data, self.request.max_drop, what="the TFLite file",
            remedy="allow more (--max-drop), or use another precision",
        )  # fmt: skip

    def _program(self) -> tuple[Program, list[dict[str, Any]]]:
        plain, precision = self.source.program(), self.request.precision
        if precision == "fp16":
            return with_half_weights(plain), []
        if precision == "dynamic":
            return with_byte_weights(plain), []
        if precision not in _ROUNDED:
            return plain, []
        work = EightBits(self.source, self.card, self.request, self.ends)
        limit = self.request.max_drop
        if precision == "mixed":
            limit = MAX_DROP if limit is None else limit
            answer = work.search(work.costs(), self._drop, limit)
            if answer is None:
                raise SrdeployError(none_bearable(limit, self.request.data))
            program, rows = work.written(answer[0])
        else:
            program, rows = work.written()
            if limit is not None and not (drop := self._drop(program)) <= limit:
                raise SrdeployError(self._refusal(work, drop, limit))
        floats = [row["layer"] for row in rows if row["precision"] != "int8"]
        self.notes += [
            *work.notes,
            f"{len(rows) - len(floats)} of {len(rows)} layers in int8; in fp32: "
            f"{', '.join(floats) or 'none'}",
        ]
        return program, rows

    def _refusal(self, work: EightBits, drop: float, limit: float) -> str:
        costs = work.costs()
        told = dearest_told(costs, work.search(costs, self._drop, limit), drop, "layers")
        return (
            f"In int8 the network loses {drop:.3f} dB on {self.request.data}, more than the "
            f"{limit:g} allowed; {told}."
        )

    def _drop(self, program: Program) -> float:
        """PSNR that a program loses on the set, dB."""
        pairs = fitting(InputSizes((self.source.size,)), self.card, self.request.data)
        if self.before is None:
            self.before = evaluate(self.original, pairs, self.card.scale, progress=False)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "net.tflite"
            file.write_bytes(to_bytes(program, self._card()))
            with LitertSession(file) as session:
                after = evaluate(session, pairs, self.card.scale, progress=False)
        return psnr_lost(self.before, after)

    def _card(self, **more: Any) -> Card:
        """The card with this export."""
        height, width = self.source.size
        ends = {"quantised_ends": True} if self.ends else {}
        return self.card.step(
            step="export", target="litert", precision=self.request.precision, **self.origin,
            size=[height, width], **{LAYOUT: CHANNELS_LAST}, **ends,
            parity={"tolerance": _TOLERANCES[self.request.precision], "sizes": [[height, width]]},
            tools=tool_versions(TOOLS), **more,
        )  # fmt: skip

    def _check_precision(self, found: str | None) -> None:
        asked = self.request.precision
        first = (found or asked).split("+")[0]
        good = {"mixed": ("int8", "fp32"), "dynamic": ("dynamic", "fp32")}.get(asked, (asked,))
        if first not in good:
            raise SrdeployError(
                f"The TFLite file computes in {found} where {asked} was asked for; report this "
                "network."
            )

    def _report(
        self, path: Path, accepted: Accepted, rows: Sequence[dict[str, Any]]
    ) -> ExportReport:
        height, width = self.source.size
        return ExportReport(
            target="litert",
            path=str(path),
            **artifact_facts(path),
            precision=self.request.precision,
            opset=None,
            parity=None,
            operators=accepted.operations,
            tools=tool_versions(TOOLS),
            seconds=round(time.perf_counter() - self.started, 3),
            notes=[*self.notes, f"one input size, {width}x{height}", *accepted.told()],
            layers=list(rows),
        )
