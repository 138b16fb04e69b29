"""An existing ONNX file -> an ONNX file in another precision, held against the one it came from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from srdeploy.exporting.onnx.adopt import Adopted, adopt, open_original
from srdeploy.exporting.onnx.write import TOLERANCES, Draft, too_coarse, write_onnx
from srdeploy.exporting.parity import Probe, Reference, check_parity_of
from srdeploy.exporting.precision.request import request_of
from srdeploy.exporting.probe import SIZES
from srdeploy.exporting.quality_loss import require_quality, with_quality
from srdeploy.exporting.report import ExportReport, Parity
from srdeploy.models.probes import BATCH_SIZE, Size
from srdeploy.models.quantised import Activations, Method
from srdeploy.runtime.fitting import nearest
from srdeploy.runtime.onnx.file import OnnxFileSession
from srdeploy.runtime.open import open_session

NOT_FOLDED = (
    "value range not folded: that is done to a network, not to a graph; to have it, export the "
    "network in fp16"
)


def convert_onnx(
    source: Path,
    path: str | Path,
    *,
    precision: str = "fp32",
    pixel_shuffle: str = "crd",
    accept: str | None = None,
    calibration: str | None = None,
    calibration_method: Method | None = None,
    activations: Activations | None = None,
    max_drop: float | None = None,
    data: str | None = None,
    value_range: float | None = None,
    scale: int | None = None,
) -> ExportReport:
    """Write an ONNX file, ours or foreign, in a precision; its ends keep their names.

    They are float32 in every precision, and the sizes it takes are those that it took. The result
    carries a card: the file's own with its history, or what was found out about it.

    Args:
        source: The file; float32 or float16.
        path: Where to; replaced only when everything has succeeded.
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``mixed``.
        pixel_shuffle: As :func:`srdeploy.exporting.onnx.export.export_onnx`; so are ``accept`` to
            ``data``.
        accept: ``"trt"``: NVIDIA's parser must accept the file.
        calibration: Images that ranges are found on.
        calibration_method: How many extremes 8 bits leave out.
        activations: ``uint8`` or ``int8``.
        max_drop: dB of PSNR that may be lost on ``data``.
        data: Benchmark set that the loss is measured on.
        value_range: Pixels run from 0 to this, for a file without a card; None: what it makes of a
            photograph shows it.
        scale: For a file without a card that returns images as large as it takes.

    Raises:
        UserError: a file that cannot be converted (:func:`srdeploy.exporting.onnx.adopt.adopt`), or
            options that do not go with the precision.
        SrdeployError: the result differs from the file by more than the precision explains, loses
            more than ``max_drop``, or the parser refuses it.
    """
    started = time.perf_counter()
    request = request_of(
        precision,
        accept=accept,
        calibration=calibration,
        method=calibration_method,
        activations=activations,
        max_drop=max_drop,
        data=data,
    )
    with reference_of_file(source, value_range, scale) as (found, reference, original):

        def compare(file: Path, kind: str) -> Parity:
            return _compared(found, reference, file, kind)

        notes = [*found.notes]
        if precision == "fp16" and found.card.value_range > 1:
            notes.append(NOT_FOLDED)
        draft = Draft(
            found.model,
            found.card,
            reference.sizes,
            origin=found.origin,
            names=found.names,
            notes=notes,
        )
        report = write_onnx(
            draft,
            path,
            request,
            compare,
            pixel_shuffle=pixel_shuffle,
            accept=accept,
            started=started,
        )
        if report.quality is None:
            report = with_quality(report, original)
            if found.precision == "fp32":
                require_quality(report)
    return report


@contextmanager
def reference_of_file(
    source: Path, value_range: float | None, scale: int | None
) -> Iterator[tuple[Adopted, Reference, OnnxFileSession]]:
    """An ONNX file, what artifacts made of it are to compute, and the session that tells.

    Raises:
        UserError: as :func:`srdeploy.exporting.onnx.adopt.adopt`.
    """
    found = adopt(source, value_range=value_range, scale=scale)
    with open_original(source, value_range, scale) as original:
        original.card = found.card
        reference = Reference(found.card, _probes(original), original.run)
        reference.leave_out_what_fails()
        yield found, reference, original


def _probes(original: OnnxFileSession) -> list[Probe]:
    """Where the two are compared: the usual sizes, as far as the file takes them."""
    multiple, given = original.card.size_multiple, original.sizes
    sizes: dict[Size, None] = {}
    for height, width in SIZES:
        size = (-(-height // multiple) * multiple, -(-width // multiple) * multiple)
        sizes[size if given is None else nearest(given, *size)] = None
    probes = [Probe(size) for size in sizes]
    return probes if original.batch else [*probes, Probe(probes[0].size, BATCH_SIZE)]


def _compared(found: Adopted, reference: Reference, file: Path, precision: str) -> Parity:
    with open_session(file, threads=1) as session:
        return check_parity_of(
            reference,
            session.run,
            max(TOLERANCES[precision], TOLERANCES[found.precision]),
            what="The new ONNX file",
            than=f"'{found.path.name}'",
            coarse=too_coarse(precision),
        )
