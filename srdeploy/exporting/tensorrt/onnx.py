"""The ONNX file that a TensorRT engine is built from: of a network, or of another ONNX file."""

from __future__ import annotations

from pathlib import Path

import onnx

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.convert import convert_onnx
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.onnx.graph import Exporter
from srdeploy.exporting.precision.graph import convolution_kinds
from srdeploy.exporting.report import ExportReport
from srdeploy.exporting.targets import AUTO
from srdeploy.exporting.tensorrt.accept import require_onnx
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.probes import Size
from srdeploy.models.quantised import Activations
from srdeploy.runtime.open import open_session
from srdeploy.runtime.sizes import InputSizes


def write_source(
    network: Network | Path,
    path: Path,
    *,
    opset: int | None = None,
    exporter: Exporter | None = None,
    pixel_shuffle: str = "crd",
    precision: str | None = None,
    sizes: str | None = None,
    value_range: float | None = None,
    scale: int | None = None,
) -> tuple[Card, ExportReport | None, str | None]:
    """Write the ONNX file that an engine is built from.

    Args:
        network: As of :func:`srdeploy.exporting.tensorrt.export.export_engine`, and so are all but
        path: where to.
        opset: See there.
        exporter: See there.
        pixel_shuffle: See there.
        precision: See there.
        sizes: See there; the file takes any, unless the network cannot.
        value_range: See there.
        scale: See there.

    Returns:
        The network's card, the report of the export if there was one, and the sizes to build for.

    Raises:
        UserError: the file takes one size only, and others were asked for.
    """
    written = None
    activations: Activations | None = "int8" if precision in ("int8", "mixed") else None
    if isinstance(network, Network):
        written = export_onnx(
            network,
            path,
            opset=opset,
            exporter=exporter,
            pixel_shuffle="crd" if pixel_shuffle == AUTO else pixel_shuffle,
            precision=precision or "fp32",
            activations=activations,
            instead=_one_of(sizes),
        )
        if pixel_shuffle == AUTO:
            note = "PixelShuffle as crd: TensorRT's default, other forms were not timed on it"
            written.notes.insert(0, note)
    else:
        model = _read(network)
        if precision in (None, "fp32") or not _in_fp32(model):
            path.write_bytes(model)
        else:
            written = convert_onnx(
                network,
                path,
                precision=precision,
                activations=activations,
                value_range=value_range,
                scale=scale,
            )
    with open_session(path, threads=1, value_range=value_range, scale=scale) as session:
        return session.card, written, _sizes_to_build(session.sizes, sizes)


def _one_of(sizes: str | None) -> Size | None:
    """The one size that an engine is for; None where it is for several."""
    asked = None if sizes is None or sizes.count("..") > 1 else InputSizes.parse(sizes)
    return asked.listed[0] if asked is not None and asked.fixed else None


def _sizes_to_build(taken: InputSizes | None, sizes: str | None) -> str | None:
    if taken is None or not taken.fixed:
        return sizes
    if sizes is not None and _one_of(sizes) != taken.listed[0]:
        raise UserError(
            f"The network's ONNX file takes {taken} only, so no engine can be built for "
            f"'{sizes}'; give one size, for instance --input {taken}."
        )
    return str(taken)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"There is no file '{path}'.")
    model = path.read_bytes()
    require_onnx(model, f"'{path}'")
    return model


def _in_fp32(model: bytes) -> bool:
    """Whether all convolutions are: a file of mixed or unknown precisions is its maker's choice."""
    try:
        kinds = convolution_kinds(onnx.load_model_from_string(model))
    except SrdeployError:
        return False
    return set(kinds.values()) == {"fp32"}
