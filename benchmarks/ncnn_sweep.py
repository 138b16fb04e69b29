"""Every architecture and shipped network in ncnn: parity and PSNR, on the CPU and through Vulkan.

    python benchmarks/ncnn_sweep.py DATA [--only NAME ...]

DATA holds weights/ and benchmark/. Architectures without published weights there are small, with
random weights, of which parity alone tells something. What was made is kept in runs/ncnn_sweep.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from results_io import table, write

from srdeploy.errors import SrdeployError
from srdeploy.exporting.run import export
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.models.registry import ARCHITECTURES, create
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES
from srdeploy.testing.architectures import SMALL

ROOT = Path(__file__).parents[1]
PRECISIONS = ("fp32", "fp16", "int8")
RUN_IN = ("ncnn", "ncnn-vulkan")
MOST = 0.05
"""dB that may be lost in fp16."""

PUBLISHED = {
    "VDSR x2": "weights/vdsr/model_epoch_50.pth",
    "EDSR f32b5 x2": "weights/edsr_mlperf/edsr_f32b5_x2_pytorch.pt",
    "EDSR f64b5 x2": "weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt",
    "SMSR x2": "weights/smsr/SMSR_X2_model_1000.pt",
    "realesr-animevideov3 x4": "weights/realesrgan/realesr-animevideov3.pth",
    "RealESRGAN anime 6B x4": "weights/realesrgan/RealESRGAN_x4plus_anime_6B.pth",
}
SHIPPED = ("edsr-s-x2", "edsr-s-x3", "edsr-s-x4", "edsr-s-x2-p30", "edsr-s-x2-p50", "edsr-s-x2-p70")
SIZE = (30, 46)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with weights/ and benchmark/")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # for the process of one network
    asked = parser.parse_args()
    folder = ROOT / "runs" / "ncnn_sweep"
    if asked.one:
        print(json.dumps(tried(asked.one, asked.data, folder / asked.one.replace(" ", "-"))))
        return
    names = [*SHIPPED, *PUBLISHED, *(f"{name} (random)" for name in ARCHITECTURES)]
    raw = []
    for name in names:
        kept = folder / f"{name.replace(' ', '-')}.json"
        if not kept.exists() and (asked.only is None or name in asked.only):
            kept.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, __file__, str(asked.data), "--one", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            kept.write_text(done.stdout.splitlines()[-1])
        if kept.exists():
            raw.append(json.loads(kept.read_text()))
    report(raw, len(names))


def network_of(name: str, data: Path) -> Network:
    """A network by its name on the page."""
    if name in PUBLISHED:
        return load_network(data / PUBLISHED[name])
    if name in SHIPPED:
        return load_network(name)
    arch = name.partition(" ")[0]
    row = ARCHITECTURES[arch]
    asked = SMALL.get(arch, {})
    scale = 2 if not row.scales or 2 in row.scales else row.scales[0]
    for sizes in ({"n_blocks": 2}, {"n_layers": 3}, {}):
        try:
            return create(arch, scale=scale, **(asked or sizes))
        except (TypeError, SrdeployError):
            continue
    raise SystemExit(f"{arch}: no small network of it is known.")


def tried(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """One network in each precision, in each runtime."""
    folder.mkdir(parents=True, exist_ok=True)
    network = network_of(name, data)
    trained = not name.endswith("(random)")
    found: dict[str, Any] = {"network": name, "trained": trained}
    for precision in PRECISIONS:
        path = folder / f"{precision}.param"
        try:
            made = export(network, "ncnn", path, precision=precision)
        except SrdeployError as error:
            found[precision] = {"error": str(error)}
            continue
        assert made.parity is not None
        told: dict[str, Any] = {"parity": made.parity.relative, "bytes": made.bytes}
        for runtime in RUN_IN:
            if RUNTIMES[runtime].availability():
                told[runtime] = compared(path, runtime, network, data if trained else None)
        found[precision] = told
    return found


def compared(path: Path, runtime: str, network: Network, data: Path | None) -> dict[str, Any]:
    """Difference from torch over the range, and the PSNR that is lost."""
    with open_session(path, runtime=runtime, threads=2) as session:
        x = photograph(session.card, SIZE)
        ratio = network.card.value_range / session.card.value_range
        with open_session(network) as dense:
            wanted = dense.run((x * np.float32(ratio)).astype(np.float32)) / ratio
        largest = float(np.abs(session.run(x) - wanted).max())
        told: dict[str, Any] = {
            "difference": largest / max(session.card.value_range, float(np.abs(wanted).max())),
            "precision": session.precision,
        }
        if data is not None and runtime == "ncnn":
            images = data / "benchmark" / "Set5"
            before = evaluate(network, images, network.card.scale, progress=False).psnr
            after = evaluate(session, images, network.card.scale, progress=False).psnr
            told |= {"psnr_fp32": before, "psnr": after}
    return told


def report(raw: list[dict[str, Any]], planned: int) -> None:
    rows, failed = [], []
    for one in raw:
        for precision in PRECISIONS:
            told = one[precision]
            if "error" in told:
                failed.append(f"- {one['network']}, {precision}: {told['error']}")
                continue
            here, vulkan = told["ncnn"], told.get("ncnn-vulkan")
            rows.append([
                one["network"], precision, f"{told['bytes'] / 1024:,.0f}",
                f"{here['difference']:.0e}", here["precision"] or "-",
                f"{vulkan['difference']:.0e}" if vulkan else "-",
                f"{here['psnr_fp32']:.2f}" if "psnr" in here else "-",
                f"{here['psnr'] - here['psnr_fp32']:+.3f}" if "psnr" in here else "-",
            ])  # fmt: skip
    header = ["network", "precision", "KiB", "CPU", "computed in", "Vulkan", "Set5 dB", "change"]
    lost = [
        one["fp16"]["ncnn"]["psnr_fp32"] - one["fp16"]["ncnn"]["psnr"]
        for one in raw
        if "psnr" in one["fp16"].get("ncnn", {})
    ]
    text = (
        f"**{len(rows)} of {len(rows) + len(failed)} files were written and run**, of "
        f"{len(raw)} of {planned} networks. *CPU*, *Vulkan*: the largest difference from torch on "
        f"a photograph of {SIZE[1]}x{SIZE[0]}, over the value range; Vulkan on a device in "
        "software (llvmpipe). *computed in*: what the CPU computes in, read back. Set5 under each "
        "network's protocol, on the CPU; networks with random weights have none. "
        + (f"In fp16 at most {max(lost):.3f} dB are lost (aim: {MOST} dB).\n\n" if lost else "\n\n")
        + table(header, rows)
    )
    if failed:
        text += "\n\n## What did not work\n\n" + "\n".join(failed)
    write("ncnn-sweep", "ncnn", text, raw, "python benchmarks/ncnn_sweep.py DATA")


if __name__ == "__main__":
    main()
