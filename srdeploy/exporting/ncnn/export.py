"""Network -> ncnn: ``net.param`` and ``net.bin`` as Vulkan applications open them, run here.

Those applications (realesrgan-ncnn-vulkan and what is built on it) feed RGB in 0..1 into a tensor
``data`` and read one ``output``. So value ranges of 255 are folded into the ends, and the ends are
called so. A description with the card lies beside the two files, ``net.param.json``.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.exporting.ncnn.convert import convert_to_ncnn
from srdeploy.exporting.onnx.convert import reference_of_file
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.onnx.write import TOLERANCES
from srdeploy.exporting.parity import Reference, check_parity_of
from srdeploy.exporting.range_folding import change_range
from srdeploy.exporting.report import ExportReport, tool_versions
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.runtime.ncnn.pair import (
    Description,
    description_path,
    pair_digest,
    weights_path,
)
from srdeploy.runtime.ncnn.param import read_param
from srdeploy.runtime.ncnn.session import RANGE, NcnnSession
from srdeploy.util.files import sha256

TOOLS = ("torch", "onnx", "onnxsim", "pnnx", "ncnn")

BLOBS = "data,output"
"""What applications call the ends."""


def export_ncnn(
    network: Network, path: str | Path, *, precision: str = "fp32", blobs: str = BLOBS
) -> ExportReport:
    """Write ``net.param``, ``net.bin`` and ``net.param.json``; any input size.

    Input float32 [C, H, W] in 0..1, as applications feed it, unless the network's range cannot be
    folded into its ends (the notes say so); output [C, H*s, W*s]. Equal networks and tools give
    equal bytes.

    Args:
        network: What to export; float32, on the CPU.
        path: Where the ``.param`` file goes; the others lie beside it.
        precision: ``fp32``, or ``fp16``: weights in 16 bits, and 16-bit arithmetic where the device
            has it.
        blobs: Names of input and output.

    Raises:
        UserError: names that are none, or an operation that ncnn does not have.
        SrdeployError: pnnx failed, or the result differs from torch by more than the precision
            explains.
    """
    started = time.perf_counter()
    names = _names(blobs)
    folded = change_range(network, RANGE)
    source = folded.network if folded else network
    notes = []
    if source.card.value_range != RANGE:
        notes.append(
            f"pixels run to {source.card.value_range:g} ({folded.reason}): applications that feed "
            "0..1 make no picture of it"
        )
    with tempfile.TemporaryDirectory() as work:
        onnx = Path(work) / "source.onnx"
        written = export_onnx(source, onnx, check=False)
        if any("fixed" in note or "one size" in note for note in written.notes):
            notes += written.notes
        origin = {"weights_sha256": weights_sha256(network.module.state_dict())}
        return _write(
            onnx, Path(path), Reference.of(source), source.card, precision, names, origin, notes,
            started,
        )  # fmt: skip


def convert_onnx_to_ncnn(
    source: Path,
    path: str | Path,
    *,
    precision: str = "fp32",
    blobs: str = BLOBS,
    value_range: float | None = None,
    scale: int | None = None,
) -> ExportReport:
    """The same of an ONNX file, ours or foreign; its range stays.

    Args:
        source: The file; float32.
        path: As :func:`export_ncnn`.
        precision: Likewise.
        blobs: Likewise.
        value_range: As :func:`srdeploy.exporting.onnx.convert.convert_onnx`.
        scale: Likewise.

    Raises:
        UserError: as :func:`export_ncnn`, or a file that is not of float32.
        SrdeployError: as :func:`export_ncnn`.
    """
    started = time.perf_counter()
    names = _names(blobs)
    with reference_of_file(source, value_range, scale) as (found, reference, _):
        if found.precision != "fp32":
            raise UserError(
                f"'{source}' is of {found.precision}; ncnn's files are made from float32 ones, and "
                "take their own precision from --precision."
            )
        notes = [*found.notes]
        if found.card.value_range != RANGE:
            notes.append(
                f"pixels run to {found.card.value_range:g}: applications that feed 0..1 make no "
                "picture of it; export the network itself, whose range can be folded"
            )
        return _write(
            source, Path(path), reference, found.card, precision, names, found.origin, notes,
            started,
        )  # fmt: skip


def _write(
    onnx: Path, path: Path, reference: Reference, before: Card, precision: str,
    names: tuple[str, str], origin: dict[str, str], notes: list[str], started: float,
) -> ExportReport:  # fmt: skip
    tolerance = TOLERANCES[precision]
    tools = tool_versions(TOOLS)
    card = before.step(
        step="export", target="ncnn", precision=precision, **origin,
        parity={"tolerance": tolerance, "sizes": [[*size] for size in reference.sizes]},
        tools=tools,
    )  # fmt: skip
    weights = weights_path(path)
    with tempfile.TemporaryDirectory() as work:
        made, stored = convert_to_ncnn(onnx, Path(work), path.name, half=precision == "fp16")
        structure = read_param(made)
        ends = (*structure.inputs, *structure.outputs)
        structure = structure.renamed(dict(zip(ends, names, strict=True)))
        weights.write_bytes(stored.read_bytes())
    path.write_text(structure.text(), encoding="ascii")
    told = Description(
        input=names[0], output=names[1], precision=precision, param_sha256=sha256(path),
        bin_sha256=sha256(weights), card=card,
    )  # fmt: skip
    description_path(path).write_text(told.model_dump_json(indent=1) + "\n", encoding="utf-8")
    with NcnnSession(path, threads=1) as session:
        parity = check_parity_of(reference, session.run, tolerance, what="The ncnn network")
        computed = session.precision
    if computed != precision:
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
    )


def _names(blobs: str) -> tuple[str, str]:
    names = tuple(part.strip() for part in blobs.split(","))
    good = all(name.isascii() and name.isprintable() and " " not in name for name in names)
    if len(names) != 2 or not all(names) or names[0] == names[1] or not good:
        raise UserError(f"--blobs are two names, {BLOBS}, not '{blobs}'.")
    return names[0], names[1]
