"""Pruning without training: time, memory and PSNR, for each architecture known here and strangers'.

    python benchmarks/reconstruct.py DATA [--ntire DIR] [--only NAME ...] [--busy] [--fresh]

DATA has weights/, benchmark/ and train/; DIR is the folder model_zoo of the NTIRE 2022 challenge on
efficient SR. A network whose file is not there is left out. Each row is
one pruning in a process of its own, on DATA's training images (``train/DIV2K_LRx4``) or on the
shipped ones. The page is written after each row, and rows that stand there are not made again
(``--fresh``: they are). A network without published PSNR (trained with a GAN) is judged by how near
it stays to itself: PSNR of the pruned network's picture to the dense one's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from results_io import QUIET, RESULTS, quiet, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.builtin import BUILTIN
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.pruning.methods.oneshot import default_exclude
from srdeploy.pruning.methods.table import METHODS, STEPS, steps_of
from srdeploy.pruning.options import PruneOptions
from srdeploy.quality.metrics import psnr
from srdeploy.quality.protocol import get_protocol
from srdeploy.reconstruct.calibration import PATCHES, SIDE, Calibration
from srdeploy.reconstruct.run import prune_at_once
from srdeploy.runtime.footprint import peak
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb

CALIBRATION = "train/DIV2K_LRx4"
SET5 = "benchmark/Set5"
PAGE = "reconstruct"
FIRST = 0.55  # ratios near it are made first, so that half a page says something


@dataclass(frozen=True)
class Case:
    """A network, and how it is pruned.

    Attributes:
        name: For the page.
        source: A shipped name, or a file in DATA; ``ntire/`` stands for the challenge's folder.
        ratios: Pruning ratios.
        agreement: Judge it by its nearness to itself.
        shipped: Also look at the shipped images in place of DATA's.
    """

    name: str
    source: str
    ratios: tuple[float, ...] = (0.3, 0.5, 0.7)
    agreement: bool = False
    shipped: bool = False


CASES = [
    Case("EDSR-S x2", "edsr-s-x2", (0.3, 0.5, 0.7, 0.9), shipped=True),
    Case("EDSR f32b5 x2", "weights/edsr_mlperf/edsr_f32b5_x2_pytorch.pt"),
    Case("EDSR f64b5 x2", "weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt"),
    Case("VDSR x2", "weights/vdsr/model_epoch_50.pth"),
    Case("SMSR x2", "weights/smsr/SMSR_X2_model_1000.pt"),
    Case("realesr-animevideov3 (SRVGGNetCompact) x4", "weights/realesrgan/realesr-animevideov3.pth",
         (0.3, 0.5), agreement=True),
    Case("RealESRGAN anime 6B (RRDBNet) x4", "weights/realesrgan/RealESRGAN_x4plus_anime_6B.pth",
         (0.3, 0.5), agreement=True),
    Case("RFDN baseline (NTIRE 2022) x4", "ntire/rfdn_baseline.pth", (0.3, 0.5)),
    Case("RLFN (NTIRE 2022) x4", "ntire/team04_rlfn.pth", (0.3, 0.5)),
]  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One row to make: plain data, for the process that makes it."""

    network: str
    source: str
    ratio: float
    method: str
    images: str
    data: str
    agreement: bool

    def key(self) -> tuple[str, float, str, str]:
        """What names its row."""
        return self.network, self.ratio, self.method, self.images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--ntire", type=Path, default=Path("ntire"), metavar="DIR")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="networks by their names")
    parser.add_argument("--fresh", action="store_true", help="make all rows again")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # a job, for the process of one row
    asked = parser.parse_args()
    if asked.row:
        print(json.dumps(made(Job(**json.loads(asked.row)))))
        return
    planned = [job for case in CASES for job in jobs(case, asked.data, asked.ntire)]
    rows = {} if asked.fresh else finished()
    for job in sorted(planned, key=lambda job: (abs(job.ratio - FIRST), job.images == "shipped")):
        if job.key() in rows or (asked.only and job.network not in asked.only):
            continue
        print(f"{job.network}, {job.ratio:g}, {job.method}, {job.images}", flush=True)
        rows[job.key()] = in_own_process(job)
        report([rows[one.key()] for one in planned if one.key() in rows], len(planned))


def jobs(case: Case, data: Path, ntire: Path) -> Iterator[Job]:
    """The rows of a network, where its file is there."""
    folder, _, name = case.source.partition("/")
    file = ntire / name if folder == "ntire" else data / case.source
    source = str(file) if name else case.source
    if name and not file.exists():
        print(f"{case.name}: there is no {case.source}", file=sys.stderr)
        return
    for ratio in case.ratios:
        for method, images in (("l1", "-"), ("reconstruct", "DIV2K"), ("reconstruct", "shipped")):
            if images != "shipped" or case.shipped:
                yield Job(case.name, source, ratio, method, images, str(data), case.agreement)


def finished() -> dict[tuple[str, float, str, str], dict[str, Any]]:
    """The rows that stand on the page and did not fail."""
    path = RESULTS / f"{PAGE}.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))["data"]
    good = [row for row in found if not row["error"]]
    return {(r["network"], r["ratio"], r["method"], r["images"]): r for r in good}


def in_own_process(job: Job) -> dict[str, Any]:
    """A row made by a process that does nothing else, so that its memory is its own."""
    load = os.getloadavg()[0]
    command = [sys.executable, __file__, job.data, "--row", json.dumps(asdict(job))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    named = {key: getattr(job, key) for key in ("network", "ratio", "method", "images")}
    named["load"] = round(load, 2)
    if done.returncode:
        return {**named, "error": (done.stderr.strip().splitlines() or ["failed"])[-1]}
    return {**named, **json.loads(done.stdout.splitlines()[-1])}


def made(job: Job) -> dict[str, Any]:
    """What became of a network, with time and memory of its pruning alone.

    Quality is measured afterwards, so that neither its time nor its memory counts.
    """
    began = time.perf_counter()
    network = load_network(job.source, scale=2 if "VDSR" in job.network else None)
    versions: dict[str, tuple[Network, float]] = {}

    def keep(stage: str, version: Network) -> dict[str, Any]:
        versions[stage] = version.copy(), time.perf_counter() - began
        return {"psnr_y": 0.0}

    row = METHODS[job.method]
    images = BUILTIN if job.images in ("-", "shipped") else str(Path(job.data) / CALIBRATION)
    options = PruneOptions(ratio=job.ratio, exclude=tuple(default_exclude(network)))
    calibration = Calibration(images, network_wise=steps_of(row, None), steps_asked=False)
    small, report = prune_at_once(network, row, options, calibration, keep)
    seconds = time.perf_counter() - began
    megabytes = (peak() or 0) / 1e6
    pairs = list(open_benchmark(Path(job.data) / SET5, network.card.scale))
    wanted = [pair.hr() for pair in pairs]
    pictures = {"dense": upscaled(network, pairs), "final": upscaled(small, pairs)}
    if "refit" in versions:
        pictures["refit"] = upscaled(versions["refit"][0], pairs)
    against = pictures.pop("dense") if job.agreement else wanted
    found = {stage: quality(some, against, network.card.scale) for stage, some in pictures.items()}
    return {
        "dense": found.get("dense"), "refit": found.get("refit"), "final": found["final"],
        "seconds_refit": versions["refit"][1] if "refit" in versions else None,
        "seconds": seconds, "megabytes": megabytes, "error": "",
        "macs": [report.before.macs_720p, report.after.macs_720p],
    }  # fmt: skip


def upscaled(network: Network, pairs: list[Any]) -> list[Any]:
    scale = network.card.scale
    with open_session(network, runtime="torch") as session:
        return [upscale_rgb(session, pair.lr(), scale) for pair in pairs]


def quality(mine: list[Any], wanted: list[Any], scale: int) -> float:
    """Mean PSNR of pictures to others."""
    protocol = get_protocol("standard")
    planes = [[protocol.planes(one, scale) for one in some] for some in (mine, wanted)]
    return float(np.mean([psnr(a, b) for a, b in zip(*planes, strict=True)]))


def report(rows: list[dict[str, Any]], planned: int) -> None:
    """Write the page with the rows that there are, of so many that are planned."""
    load = max(row["load"] for row in rows)
    hurry = "Seconds were measured under load: they are not to be quoted. " if load >= QUIET else ""
    missing = planned - len(rows)
    left = f"\n\n**{missing} of {planned} rows are not made yet.**" if missing else ""
    text = (
        "Set5, PSNR of Y, border of the scale, 8-bit output. Nothing was trained on pictures and "
        f"their originals. *images*: what the network was run on, up to {PATCHES} patches of "
        f"{SIDE}x{SIDE} LR pixels; DIV2K: of 100 photographs (`{CALIBRATION}`), shipped: of the "
        "images that come with srdeploy. *refit*: after rotation, choice and refit, before any "
        f"gradient; *dB*: at the end, for `reconstruct` after {STEPS} steps of network-wise "
        "reconstruction. *agreement*: a network trained with a GAN, whose dB are the PSNR of the "
        "pruned network's pictures to those of the dense one. Seconds and peak memory are those "
        "of a process that does nothing else, on one thread; measuring of quality is left out. "
        f"{hurry}Rows are kept when the page is made again: they may be of several runs.{left}\n\n"
    )
    head = ("network", "ratio", "MACs 720p", "dense", "method", "images", "refit", "dB",
            "s to refit", "s", "MB")  # fmt: skip
    write(PAGE, "Pruning without training", text + table(head, [line(row) for row in rows]), rows,
          "python benchmarks/reconstruct.py DATA --ntire DIR", before=load)  # fmt: skip


def line(row: dict[str, Any]) -> list[str]:
    """A row of the page; a dash for what there is not."""
    named = [row["network"], f"{row['ratio']:g}"]
    how = [row["method"], row["images"]]
    if row["error"]:
        return [*named, "-", "-", *how, "-", row["error"], "-", "-", "-"]
    dense = "agreement" if row["dense"] is None else f"{row['dense']:.2f}"
    refit = ["-" if row[key] is None else form.format(row[key])
             for key, form in (("refit", "{:.2f}"), ("seconds_refit", "{:.0f}"))]  # fmt: skip
    sizes = " -> ".join(f"{macs / 1e9:.1f}G" for macs in row["macs"])
    return [*named, sizes, dense, *how, refit[0], f"{row['final']:.2f}", refit[1],
            f"{row['seconds']:.0f}", f"{row['megabytes']:.0f}"]  # fmt: skip


if __name__ == "__main__":
    if "--row" not in sys.argv:
        quiet()
    main()
