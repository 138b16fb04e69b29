"""Every architecture and shipped network in ncnn: parity and PSNR, on the CPU and through Vulkan.

    python benchmarks/ncnn_sweep.py DATA [--only NAME ...]

DATA holds weights/ and benchmark/. Architectures without published weights there are small, with
random weights, of which parity alone tells something. What was made is kept in runs/ncnn_sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results_io import table, write
from swept import PUBLISHED, RANDOM, SHIPPED, SIZE, Source, difference, refused, sweep

from srdeploy.data.benchmark import Middle, Pair, open_benchmark
from srdeploy.exporting.run import export
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES

PRECISIONS = ("fp32", "fp16", "int8")
RUN_IN = ("ncnn", "ncnn-vulkan")
MOST = 0.05
"""dB that may be lost in fp16."""
SIDE = 48
"""Height and width of the middles of Set5 that Vulkan's device in software is given."""

NETWORKS = [*SHIPPED, *PUBLISHED, *RANDOM.values()]


def main() -> None:
    report(sweep("ncnn_sweep", __doc__ or "", dict.fromkeys(NETWORKS, PRECISIONS), made))


def made(source: Source, precision: str) -> dict[str, Any]:
    """One network in a precision, in each runtime."""
    path = source.folder / f"{precision}.param"
    written = export(source.network, "ncnn", path, precision=precision)
    assert written.parity is not None
    told: dict[str, Any] = {"parity": written.parity.relative, "bytes": written.bytes}
    for runtime in RUN_IN:
        if RUNTIMES[runtime].availability():
            told[runtime] = compared(path, runtime, source)
    return told


def compared(path: Path, runtime: str, source: Source) -> dict[str, Any]:
    """Difference from torch over the range, and the PSNR that is lost."""
    network = source.network
    with open_session(path, runtime=runtime, threads=2) as session:
        told: dict[str, Any] = {
            "difference": difference(session, network),
            "precision": session.precision,
        }
        if source.trained:
            scale = network.card.scale
            images: Sequence[Pair] = open_benchmark(source.data / "benchmark" / "Set5", scale)
            if runtime == "ncnn-vulkan":
                images = [Middle(**vars(pair), side=SIDE) for pair in images]
            before = evaluate(network, images, scale, progress=False).psnr
            after = evaluate(session, images, scale, progress=False).psnr
            told |= {"psnr_fp32": before, "psnr": after}
    return told


def report(raw: dict[str, dict[str, dict[str, Any]]]) -> None:
    rows, lost, failed = [], [], 0
    for network, forms in raw.items():
        for precision, told in forms.items():
            if "error" in told:
                failed += 1
                continue
            here, vulkan = told["ncnn"], told.get("ncnn-vulkan", {})
            changes = [
                one["psnr"] - one["psnr_fp32"] if "psnr" in one else None for one in (here, vulkan)
            ]
            rows.append([
                network, precision, f"{told['bytes'] / 1024:,.0f}",
                f"{here['difference']:.0e}", here["precision"] or "-",
                f"{vulkan['difference']:.0e}" if vulkan else "-",
                f"{here['psnr_fp32']:.2f}" if "psnr" in here else "-",
                *("-" if change is None else f"{change:+.3f}" for change in changes),
            ])  # fmt: skip
            if precision == "fp16":
                lost += [-change for change in changes if change is not None]
    header = [
        "network", "precision", "KiB", "CPU", "computed in", "Vulkan",
        "Set5 dB", "CPU change", "Vulkan change",
    ]  # fmt: skip
    text = (
        f"**{len(rows)} of {len(rows) + failed} files were written and run**, of "
        f"{len(raw)} of {len(NETWORKS)} networks. *CPU*, *Vulkan*: the largest difference from "
        f"torch on a photograph of {SIZE[1]}x{SIZE[0]}, over the value range; Vulkan on a device "
        "in software (llvmpipe). *computed in*: what the CPU computes in, read back. Set5 under "
        "each network's protocol: the fp32 network in PyTorch, and what the files change, on the "
        f"CPU on whole images, through Vulkan on their middles ({SIDE}x{SIDE} inputs); networks "
        "with random weights have none. "
        + (f"In fp16 at most {max(lost):.3f} dB are lost (aim: {MOST} dB).\n\n" if lost else "\n\n")
        + table(header, rows)
        + refused(raw)
    )
    write("ncnn-sweep", "ncnn", text, raw, "python benchmarks/ncnn_sweep.py DATA")


if __name__ == "__main__":
    main()
