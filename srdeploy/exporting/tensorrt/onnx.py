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
from srdeploy.models.quantised import Activations
from srdeploy.runtime.open import open_session


def write_source(
    network: Network | Path,
    path: Path,
    *,
    opset: int | None = None,
    exporter: Exporter | None = None,
    pixel_shuffle: str = "crd",
    precision: str | None = None,
    value_range: float | None = None,
    scale: int | None = None,
) -> tuple[Card, ExportReport | None]:
    """Write the ONNX file that an engine is built from.

    Args:
        network: As of :func:`srdeploy.exporting.tensorrt.export.export_engine`, and so are all but
        path: where to.
        opset: See there.
        exporter: See there.
        pixel_shuffle: See there.
        precision: See there.
        value_range: See there.
        scale: See there.

    Returns:
        The network's card, and the report of the export if there was one.
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
        return session.card, written


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
