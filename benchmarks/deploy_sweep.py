"""Every architecture as Core ML packages and as TensorRT-RTX engines: built, or refused and why.

    python benchmarks/deploy_sweep.py DATA [--only NAME ...]

DATA holds weights/. Architectures without published weights there are small, with random weights.
Nothing here needs a Mac or a GPU: packages are interpreted; engines are built for four generations
of GPUs, and their ONNX is run. What was made is kept in runs/deploy_sweep.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from results_io import table, write
from swept import PUBLISHED, RANDOM, SIZE, Source, difference, refused, sweep

from srdeploy.exporting.quality_loss import with_quality
from srdeploy.exporting.report import ExportReport
from srdeploy.exporting.run import export
from srdeploy.exporting.tensorrt.accept import accepts
from srdeploy.exporting.tensorrt.export import RTX_DEFAULT
from srdeploy.runtime.open import open_session
from srdeploy.runtime.tensorrt.sidecar import onnx_path, read_sidecar

_RANGED = {"precision": "fp16", "sizes": "16..512"}
_LISTED = {"precision": "fp16", "sizes": "64x48,128x128"}
COREML: dict[str, dict[str, Any]] = {
    "Core ML fp16, ranged": _RANGED,
    "Core ML fp16, enumerated": _LISTED,
    "Core ML int8, enumerated": {**_LISTED, "quantize": "w8a8"},
    "Core ML 6-bit palette, ranged": {**_RANGED, "palettize": 6},
}
ENGINES: dict[str, dict[str, Any]] = {
    f"RTX engine {precision}": {"precision": precision, "sizes": "16x16..64x64..512x512"}
    for precision in ("fp32", "fp16", "int8")
}
FORMS = [*COREML, *ENGINES]

TRAINED = ("vdsr", "edsr", "ledsr", "smsr", "srvggnet", "rrdbnet")
"""Architectures of the networks that have weights."""

NETWORKS = ["edsr-s-x2", *PUBLISHED, *(RANDOM[name] for name in RANDOM if name not in TRAINED)]


def main() -> None:
    report(sweep("deploy_sweep", __doc__ or "", dict.fromkeys(NETWORKS, FORMS), made))


def made(source: Source, form: str) -> dict[str, Any]:
    """One network in a form."""
    stem = source.folder / form.replace(" ", "-").replace(",", "")
    if form in COREML:
        report = export(source.network, "coreml", stem.with_suffix(".mlpackage"), **COREML[form])
        assert report.parity is not None
        return _told(report) | {"difference": report.parity.relative}
    path = stem.with_suffix(".engine")
    report = export(source.network, "trt-rtx", path, **ENGINES[form])
    onnx, facts = onnx_path(path), read_sidecar(path)
    with open_session(onnx) as session:
        apart = difference(session, source.network)
    return _told(with_quality(replace(report, path=str(onnx)), source.network)) | {
        "difference": apart,
        "accepted": accepts(onnx.read_bytes()).layers,
        "convolutions": facts.convolutions,
        "layers": facts.layers,
    }


def _told(report: ExportReport) -> dict[str, Any]:
    return {
        "bytes": report.bytes,
        "precision": report.precision,
        "quality": report.quality,
        "notes": report.notes,
    }


def report(raw: dict[str, dict[str, dict[str, Any]]]) -> None:
    rows, failed = [], 0
    for network, forms in raw.items():
        for form, told in forms.items():
            if "error" in told:
                failed += 1
                continue
            quality = told["quality"]
            agreement = None if quality is None else quality.get("agreement")
            rows.append([
                network, form, f"{told['bytes'] / 1024:,.0f}", f"{told['difference']:.0e}",
                "-" if quality is None else f"{quality['psnr_fp32']:.2f}",
                "-" if quality is None else f"{-quality['drop']:+.3f}",
                "-" if agreement is None else f"{agreement:.1f}",
                _parser(told),
            ])  # fmt: skip
    header = ["network", "form", "KiB", "difference", "dB", "change", "agreement dB", "parser"]
    text = (
        f"**{len(rows)} of {len(rows) + failed} files were built**, of {len(raw)} of "
        f"{len(NETWORKS)} networks. *difference*: the largest difference from torch, over the "
        "value range: of a package, what srdeploy's interpreter makes of the saved program, at "
        "all sizes that its export compares; of an engine, what onnxruntime makes of the ONNX file "
        f"that it was built from, on a photograph of {SIZE[1]}x{SIZE[0]}. *dB*: PSNR of the fp32 "
        "network on the shipped images under its protocol; *change*: what the file makes of it; "
        "*agreement*: PSNR of the file's outputs to the network's own, which also tells of random "
        "weights. *parser*: layers that TensorRT's own parser read, and convolutions by the "
        "precision that the parsed network gives them. Engines are for compute capability "
        f"{', '.join(RTX_DEFAULT)}; none was run, as that needs such a GPU. Packages are for "
        "16x16 to 512x512 (ranged), or for 64x48 and 128x128 (enumerated); in int8 the weights and "
        "the inputs of the inner convolutions have 8 bits.\n\n" + table(header, rows) + refused(raw)
    )
    write(
        "deploy-sweep", "Core ML packages and TensorRT-RTX engines", text, raw,
        "python benchmarks/deploy_sweep.py DATA",
    )  # fmt: skip


def _parser(told: dict[str, Any]) -> str:
    if "accepted" not in told:
        return "-"
    kinds = ", ".join(f"{count} {kind}" for kind, count in told["convolutions"].items())
    return f"{told['accepted']} layers; {kinds}"


if __name__ == "__main__":
    main()
