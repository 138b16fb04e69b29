"""Network -> ncnn: ``net.param`` and ``net.bin`` as Vulkan applications open them, run here.

Those applications (realesrgan-ncnn-vulkan and what is built on it) feed RGB in 0..1 into a tensor
``data`` and read one ``output``. So value ranges of 255 are folded into the ends, and the ends are
called so. A description with the card lies beside the two files, ``net.param.json``. Of an ONNX
file the range stays.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.ncnn.convert import convert_to_ncnn
from srdeploy.exporting.ncnn.int8 import to_int8
from srdeploy.exporting.onnx.convert import reference_of_file
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.onnx.write import TOLERANCES, too_coarse
from srdeploy.exporting.parity import FAULT, Apart, Reference, check_parity_of
from srdeploy.exporting.precision.graph import sizes_of
from srdeploy.exporting.precision.request import PrecisionRequest, request_of
from srdeploy.exporting.quality_loss import within_limit
from srdeploy.exporting.range_folding import change_range
from srdeploy.exporting.report import ExportReport, tool_versions
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.quantised import Method
from srdeploy.runtime.ncnn.pair import (
    Description,
    description_path,
    pair_digest,
    weights_path,
)
from srdeploy.runtime.ncnn.param import WEIGHTS
from srdeploy.runtime.ncnn.session import RANGE, NcnnSession
from srdeploy.runtime.session import Session
from srdeploy.util.files import sha256

TOOLS = ("torch", "onnx", "onnxsim", "pnnx", "ncnn")

BLOBS = "data,output"
"""What applications call the ends."""


@dataclass(frozen=True)
class _Source:
    """What is converted.

    Attributes:
        file: float32 ONNX.
        reference: What the result is to compute.
        original: What it may lose nothing of.
        card: The network's.
        origin: For the history.
        notes: For people.
    """

    file: Path
    reference: Reference
    original: Network | Session
    card: Card
    origin: dict[str, str]
    notes: list[str]


def export_ncnn(
    network: Network | Path,
    path: str | Path,
    *,
    precision: str = "fp32",
    blobs: str = BLOBS,
    calibration: str | None = None,
    calibration_method: Method | None = None,
    max_drop: float | None = None,
    data: str | None = None,
    value_range: float | None = None,
    scale: int | None = None,
) -> ExportReport:
    """Write ``net.param``, ``net.bin`` and ``net.param.json``; any input size, if possible.

    Input float32 [C, H, W] in 0..1, as applications feed it, unless the network's range cannot be
    folded into its ends, or it is an ONNX file, whose range stays (the notes say so); output
    [C, H*s, W*s]. Equal networks and tools give equal bytes.

    Args:
        network: What to export; float32, on the CPU. Or an ONNX file, ours or foreign; float32.
        path: Where the ``.param`` file goes; the others lie beside it.
        precision: ``fp32``; ``fp16``: weights in 16 bits, and 16-bit arithmetic where the device
            has it; ``int8``: inner convolutions in 8 bits (:mod:`srdeploy.exporting.ncnn.int8`).
        blobs: Names of input and output.
        calibration: Images that ranges are found on. This and what follows, to ``data``, are not
            for fp32; they are as in :func:`srdeploy.exporting.onnx.export.export_onnx`.
        calibration_method: How many extremes 8 bits leave out.
        max_drop: dB of PSNR that may be lost on ``data``.
        data: Benchmark set that the loss is measured on.
        value_range: As :func:`srdeploy.exporting.onnx.convert.convert_onnx`, of an ONNX file.
        scale: Likewise.

    Raises:
        UserError: names that are none, a file that is not of float32, or an operation that ncnn
            does not have.
        SrdeployError: pnnx failed, the result differs from the network by more than the precision
            explains, or loses more than ``max_drop``.
    """
    started = time.perf_counter()
    names = _names(blobs)
    request = request_of(
        precision, calibration=calibration, method=calibration_method, max_drop=max_drop, data=data
    )
    found = (
        _of_network(network, precision == "fp16")
        if isinstance(network, Network)
        else _of_file(network, value_range, scale)
    )
    with found as source:
        report = _write(source, Path(path), request, names, started)
        if precision == "fp32":
            return report
        return within_limit(
            report, source.original, request.data, max_drop, what="the ncnn network",
            remedy="calibrate on images like yours (--calibration), allow more (--max-drop), or "
            "use fp16",
        )  # fmt: skip


@contextmanager
def _of_network(network: Network, halves: bool) -> Iterator[_Source]:
    folded = change_range(network, RANGE, halves=halves)
    source = folded.network if folded else network
    notes = []
    if source.card.value_range != RANGE:
        notes.append(
            f"pixels run to {source.card.value_range:g} ({folded.reason}): applications that feed "
            "0..1 make no picture of it"
        )
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "source.onnx"
        export_onnx(source, file)
        sizes = sizes_of(onnx.load(str(file)))
        reference = Reference.of(source, None if sizes is None else sizes.listed)
        origin = {"weights_sha256": weights_sha256(network.module.state_dict())}
        yield _Source(file, reference, source, source.card, origin, notes)


@contextmanager
def _of_file(file: Path, value_range: float | None, scale: int | None) -> Iterator[_Source]:
    with reference_of_file(file, value_range, scale) as (found, reference, original):
        if found.precision != "fp32":
            raise UserError(
                f"'{file}' is of {found.precision}; ncnn's files are made from float32 ones, and "
                "take their own precision from --precision."
            )
        notes = [*found.notes]
        if found.card.value_range != RANGE:
            notes.append(
                f"pixels run to {found.card.value_range:g}: applications that feed 0..1 make no "
                "picture of it; export the network itself, whose range can be folded"
            )
        yield _Source(file, reference, original, found.card, found.origin, notes)


def _write(
    source: _Source, path: Path, request: PrecisionRequest, names: tuple[str, str], started: float
) -> ExportReport:
    precision, reference, notes = request.precision, source.reference, source.notes
    tolerance = TOLERANCES[precision]
    tools = tool_versions(TOOLS)
    card = source.card.step(
        step="export", target="ncnn", precision=precision, **source.origin,
        parity={"tolerance": tolerance, "sizes": [[*size] for size in reference.sizes]},
        tools=tools,
    )  # fmt: skip
    weights = weights_path(path)
    with tempfile.TemporaryDirectory() as work:
        made = convert_to_ncnn(source.file, Path(work), path.name, half=precision == "fp16")
        structure, values = made.structure, made.weights.read_bytes()
        layers: list[dict[str, Any]] = []
        if precision == "int8":
            structure, values, layers = to_int8(made, path.name, source.card, request)
            all_of_them = sum(layer.kind in WEIGHTS for layer in structure.layers)
            notes.append(f"{len(layers)} of {all_of_them} convolutions in int8")
        ends = (*structure.inputs, *structure.outputs)
        if len(ends) != len(names):
            raise SrdeployError(
                f"The ncnn network has {len(structure.inputs)} inputs and "
                f"{len(structure.outputs)} outputs, not one of each; {FAULT}."
            )
        structure = structure.renamed(dict(zip(ends, names, strict=True)))
        weights.write_bytes(values)
    path.write_text(structure.text(), encoding="ascii")
    if (sizes := sizes_of(made.model)) is not None:
        notes.append(f"takes {sizes} only: applications that cut images otherwise cannot run it")
    told = Description(
        input=names[0], output=names[1], precision=precision, param_sha256=sha256(path),
        bin_sha256=sha256(weights), sizes=None if sizes is None else str(sizes), card=card,
    )  # fmt: skip
    description_path(path).write_text(told.model_dump_json(indent=1) + "\n", encoding="utf-8")
    with NcnnSession(path, threads=1) as session:
        compare = partial(
            check_parity_of, reference, session.run, tolerance, what="The ncnn network"
        )
        try:
            parity = compare()
        except Apart:
            if precision != "fp32":  # raises where not the precision is at fault
                with tempfile.TemporaryDirectory() as other:
                    _write(source, Path(other) / path.name, PrecisionRequest(), names, started)
            parity = compare(coarse=too_coarse(precision))
        computed = session.precision
    if computed not in (precision, None):
        notes.append(f"this machine computes it in {computed}: its parity is that of its weights")
    files = (path, weights, description_path(path))
    return ExportReport(
        target="ncnn",
        path=str(path),
        sha256=pair_digest(path),
        bytes=sum(file.stat().st_size for file in files),
        precision=precision,
        opset=None,
        parity=parity,
        operators=dict(sorted(Counter(layer.kind for layer in structure.layers).items())),
        tools=tools,
        seconds=round(time.perf_counter() - started, 3),
        notes=notes,
        layers=layers,
    )


def _names(blobs: str) -> tuple[str, str]:
    names = tuple(part.strip() for part in blobs.split(","))
    good = all(name.isascii() and name.isprintable() and " " not in name for name in names)
    if len(names) != 2 or not all(names) or names[0] == names[1] or not good:
        raise UserError(f"--blobs are two names, {BLOBS}, not '{blobs}'.")
    return names[0], names[1]
