"""Pruning without training: time, memory and PSNR, for each architecture known here and strangers'.

    python benchmarks/reconstruct.py DATA [--only NAME ...] [--busy]  # weights/, benchmark/, train/

Each cell is one ``srdeploy prune`` on its own, on DATA's training images (``train/DIV2K_LRx4``) and
on the shipped ones. A network without published PSNR (trained with a GAN) is judged by how near it
stays to itself: PSNR of the pruned network's picture to the dense one's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from results_io import quiet, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.quality.metrics import psnr
from srdeploy.quality.protocol import get_protocol
from srdeploy.reconstruct.run import PATCHES, SIDE
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb

CALIBRATION = "train/DIV2K_LRx4"
SET5 = "benchmark/Set5"


@dataclass(frozen=True)
class Case:
    """A network, and how it is pruned.

    Attributes:
        name: For the page.
        source: A shipped name, or a file in DATA.
        ratios: Pruning ratios.
        agreement: Judge it by its nearness to itself.
    """

    name: str
    source: str
    ratios: tuple[float, ...] = (0.3, 0.5, 0.7)
    agreement: bool = False


CASES = [
    Case("EDSR-S x2", "edsr-s-x2", (0.3, 0.5, 0.7, 0.9)),
    Case("EDSR-S x3", "edsr-s-x3"),
    Case("EDSR-S x4", "edsr-s-x4"),
    Case("EDSR f32b5 x2", "weights/edsr_mlperf/edsr_f32b5_x2_pytorch.pt"),
    Case("EDSR f64b5 x2", "weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt"),
    Case("VDSR x2", "weights/vdsr/model_epoch_50.pth"),
    Case("SMSR x2", "weights/smsr/SMSR_X2_model_1000.pt", (0.3,)),
    Case("SRVGGNetCompact x4", "weights/realesrgan/realesr-animevideov3.pth", (0.3, 0.5), True),
    Case("RRDB 6B x4", "weights/realesrgan/RealESRGAN_x4plus_anime_6B.pth", (0.3, 0.5), True),
]
METHODS = ("l1", "obs", "reconstruct")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="networks by their names")
    asked = parser.parse_args()
    cases = [case for case in CASES if not asked.only or case.name in asked.only]
    found = [row for case in cases for row in rows_of(case, asked.data)]
    text = (
        "Set5, PSNR of Y, border of the scale, 8-bit output; no training. `images`: what the "
        "network was run on, DIV2K: up to "
        f"{PATCHES} patches of {SIDE}x{SIDE} LR pixels of 100 photographs, shipped: of the images "
        "that come with srdeploy. Seconds and peak memory are those of the "
        "whole command, tracing, proof and reading included, measuring of quality left out, on "
        "one thread. *Agreement*: PSNR of the pruned network's picture to the dense one's.\n\n"
        + table(
            ("network", "ratio", "dense dB", "method", "images", "dB", "seconds", "MB"),
            [line(row) for row in found],
        )
    )
    write("reconstruct", "Pruning without training", text, found,
          "python benchmarks/reconstruct.py DATA")  # fmt: skip


def line(row: dict[str, Any]) -> list[str]:
    dense = "agreement" if row["dense"] is None else f"{row['dense']:.2f}"
    failed = row["error"]
    return [row["network"], f"{row['ratio']:g}", dense, row["method"], row["images"],
            failed or f"{row['psnr']:.2f}", f"{row['seconds']:.0f}",
            f"{row['megabytes']:.0f}"]  # fmt: skip


def rows_of(case: Case, data: Path) -> list[dict[str, Any]]:
    source = data / case.source if "/" in case.source else Path(case.source)
    set5 = data / SET5
    dense = None if case.agreement else pictures_psnr(str(source), set5, None)
    rows = []
    for ratio in case.ratios:
        for method in METHODS:
            for images in ("-",) if method == "l1" else ("DIV2K", "shipped"):
                with tempfile.TemporaryDirectory() as folder:
                    small = Path(folder) / "small.safetensors"
                    own = ["--calibration", str(data / CALIBRATION)] if images == "DIV2K" else []
                    facts = prune(str(source), small, method, ratio, own)
                    other = str(source) if case.agreement else None
                    quality = None if facts["error"] else pictures_psnr(str(small), set5, other)
                rows.append({"network": case.name, "ratio": ratio, "dense": dense,
                             "method": method, "images": images, "psnr": quality,
                             **facts})  # fmt: skip
                print(" | ".join(line(rows[-1])), flush=True)
    return rows


def prune(source: str, out: Path, method: str, ratio: float, own: list[str]) -> dict[str, Any]:
    """One command in a process of its own, with its time and largest resident memory."""
    command = [sys.executable, "-m", "srdeploy", "-q", "prune", source, "--method", method,
               "--ratio", str(ratio), *own, "--no-quality", "--json", "-o", str(out)]  # fmt: skip
    began = time.perf_counter()
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command, stdout=stdout, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        said = stderr.read().decode().strip()
    return {
        "seconds": time.perf_counter() - began,
        "megabytes": used.ru_maxrss / 1024,
        "error": said.splitlines()[-1] if process.returncode else "",
    }


def pictures_psnr(source: str, folder: Path, other: str | None) -> float:
    """Mean PSNR of a network's pictures to the originals, or to another network's."""
    protocol = get_protocol("standard")
    with open_session(source, runtime="torch") as session:
        scale = session.card.scale
        pairs = list(open_benchmark(folder, scale))
        mine = [upscale_rgb(session, pair.lr(), scale) for pair in pairs]
    if other is None:
        wanted = [pair.hr() for pair in pairs]
    else:
        with open_session(other, runtime="torch") as session:
            wanted = [upscale_rgb(session, pair.lr(), scale) for pair in pairs]
    return float(
        np.mean(
            [
                psnr(protocol.planes(a, scale), protocol.planes(b, scale))
                for a, b in zip(mine, wanted, strict=True)
            ]
        )
    )


if __name__ == "__main__":
    quiet()
    main()
