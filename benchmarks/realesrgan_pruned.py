"""Real-ESRGAN's networks pruned without training: how near do they stay, and how fast are they?

    python benchmarks/realesrgan_pruned.py DATA [--work DIR] [--times] [--busy] [--only NAME ...]

DATA has weights/ and benchmark/. These networks are trained with a GAN, so that PSNR to the
originals says little of them: what is compared is the pruned network's picture with the dense
one's. Each row is made by a process of its own and kept in DIR, so that what is there is not made
again, and a row that was stopped goes on where it was. Without --times nothing is timed, and the
machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from drawings import write_drawings
from numpy.typing import NDArray
from PIL import Image
from reconstruct import quality, upscaled
from results_io import RESULTS, quiet, shown, srdeploy, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.builtin import BUILTIN, CALIBRATION_IMAGES
from srdeploy.data.images import to_uint8
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.store import save_network
from srdeploy.pruning.methods.table import STEPS
from srdeploy.pruning.options import PruneOptions
from srdeploy.reconstruct.calibration import PATCHES, SIDE, Calibration
from srdeploy.reconstruct.run import prune_by_cost
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb

NAME = "realesrgan-pruned"
THREADS = "2"
DRAWN, JUDGED = range(28), range(100, 104)
"""Seeds of the drawings that networks are refitted on, and of those that they are judged on."""
SETS = ("Set5", "shipped", "drawings")
CROPS = (("shipped", 2, 60, 70), ("drawings", 1, 60, 130))
CROP = 128  # set, which image, top and left above; the side


@dataclass(frozen=True)
class Case:
    """A published network.

    Attributes:
        name: For the page, and of its file.
        size: The LR image on which it is timed.
    """

    name: str
    size: str

    def weights(self, data: Path) -> str:
        """Its file."""
        return str(data / "weights" / "realesrgan" / f"{self.name}.pth")


SMALL = Case("realesr-animevideov3", "160x120")
LARGE = Case("RealESRGAN_x4plus_anime_6B", "96x72")


@dataclass(frozen=True)
class Job:
    """A row: a network, pruned in one way.

    Attributes:
        network: Its name.
        ratio: Of the channels of each group, how many go.
        images: ``shipped`` photographs, ``drawings``, or ``both``.
        patches: How many pieces of them, at most.
    """

    network: str
    ratio: float
    images: str = "shipped"
    patches: int = PATCHES

    def key(self) -> str:
        """A file name of it."""
        return "-".join(str(value) for value in asdict(self).values())


FEWER = PATCHES // 4
"""Pieces for the large network: with all of them a row takes four times as long."""
SHOWN = [
    *(Job(SMALL.name, ratio) for ratio in (0.3, 0.5)),
    *(Job(LARGE.name, ratio, patches=FEWER) for ratio in (0.3, 0.5)),
]
"""The default way of ``srdeploy prune``, but for the large network's pieces: pictures and times are
of these."""
JOBS = [*SHOWN, Job(SMALL.name, 0.5, "both")]


def main() -> None:
    if "--times" in sys.argv:
        quiet()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with weights/ and benchmark/")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / NAME)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="networks by their names")
    parser.add_argument("--times", action="store_true", help="measure latencies")
    parser.add_argument("--row", help=argparse.SUPPRESS)  # a job, for the process of one row
    asked = parser.parse_args()
    if asked.row:
        made(Job(**json.loads(asked.row)), asked.data, asked.work)
        return
    asked.work.mkdir(parents=True, exist_ok=True)
    for job in JOBS:
        if (asked.work / f"{job.key()}.json").exists() or job.network not in (
            asked.only or [job.network]
        ):
            continue
        row = [sys.executable, __file__, str(asked.data), "--work", str(asked.work)]
        subprocess.run([*row, "--row", json.dumps(asdict(job))], check=True)
        print(job.key(), flush=True)
    if asked.times:
        for case in (SMALL, LARGE):
            timed(case, asked.data, asked.work)
    report(asked.work, asked.data)


def made(job: Job, data: Path, work: Path) -> None:
    """Prune one network, and see how near it stays after the refit and at the end."""
    dense = load_network(Case(job.network, "").weights(data))
    scale = dense.card.scale
    images = BUILTIN if job.images == "shipped" else str(calibration_images(job.images, work))
    agreement: dict[str, dict[str, float]] = {}
    pictures = {name: benchmark(name, data, work, scale) for name in SETS}
    wanted = {name: upscaled(dense, pairs) for name, pairs in pictures.items()}

    def judged(stage: str, network: Network) -> dict[str, Any]:
        if stage in ("refit", "network-wise"):
            agreement[stage] = {
                name: quality(upscaled(network, pairs), wanted[name], scale)
                for name, pairs in pictures.items()
            }
        return {"psnr_y": 0.0}

    small, done = prune_by_cost(
        dense,
        PruneOptions(ratio=job.ratio),
        Calibration(images, job.patches, network_wise=STEPS, steps_asked=False),
        judged,
        rotate=True,
        folder=work / f"{job.key()}.steps",
    )
    save_network(small, work / f"{job.key()}.safetensors")
    with open_session("bicubic") as session:
        agreement["bicubic"] = {
            name: quality(
                [upscale_rgb(session, one.lr(), scale) for one in pairs], wanted[name], scale
            )
            for name, pairs in pictures.items()
        }
    last = small.card.history[-1]
    found = {
        **asdict(job), "agreement": agreement, "proof": done.proof, "steps": last["steps"],
        "sizes": [[one.params, one.macs_720p] for one in (done.before, done.after)],
    }  # fmt: skip
    (work / f"{job.key()}.json").write_text(json.dumps(found))


def benchmark(name: str, data: Path, work: Path, scale: int) -> list[Any]:
    """The images of one of the :data:`SETS`."""
    if name == "drawings":
        write_drawings(work / "judged", JUDGED, 384)
    places = {"Set5": data / "benchmark/Set5", "shipped": BUILTIN, "drawings": work / "judged"}
    return list(open_benchmark(places[name], scale))


def calibration_images(kind: str, work: Path) -> Path:
    """A folder of drawings, with the shipped images that networks are refitted on or without."""
    folder = work / kind
    write_drawings(folder, DRAWN)
    if kind == "both":
        for place in CALIBRATION_IMAGES:
            for file in sorted(Path(place).rglob("*.png")):
                shutil.copy(file, folder / file.name)
    return folder


def timed(case: Case, data: Path, work: Path) -> None:
    """Latency of the dense network and of those that are shown."""
    pruned = [work / f"{job.key()}.safetensors" for job in SHOWN if job.network == case.name]
    artifacts = []
    for number, source in enumerate([case.weights(data), *map(str, pruned)]):
        artifacts.append(str(work / f"{case.name}-{number}.onnx"))
        srdeploy("export", source, "-o", artifacts[-1])
    found = srdeploy(
        "bench", *artifacts, "--scale", "4", "--input", case.size, "--runs", "20",
        "--seconds", "10", "--threads", THREADS, "--no-quality", "--runtime", "onnxruntime",
    )  # fmt: skip
    (work / f"{case.name}-times.json").write_text(json.dumps(found))


def report(work: Path, data: Path) -> None:
    """Write the page of what there is."""
    files = {job: work / f"{job.key()}.json" for job in JOBS}
    found = {job: json.loads(file.read_text()) for job, file in files.items() if file.exists()}
    text = (
        "Pruned by `reconstruct`, proven, and refitted: no network was trained on pictures and "
        "their originals. *Agreement*: PSNR of Y, in dB, of a network's picture to the dense "
        "network's, after the refit and after network-wise reconstruction, with which `srdeploy "
        f"prune` ends: *steps* of it, {STEPS} or, of a large network, fewer. That of bicubic "
        "upscaling shows what the networks add. It is taken on the LR images of Set5 x4, on the "
        "four benchmark images that come with srdeploy, reduced four times, and on "
        f"{len(JUDGED)} drawings (`benchmarks/drawings.py`), as these networks are made for drawn "
        "pictures. *Fitted on*: the photographs and textures that come with srdeploy, drawings of "
        f"other seeds, or both; how many pieces, of {SIDE}x{SIDE} LR pixels ({PATCHES} is the "
        "default).\n\n"
    )
    header = ["network", "ratio", "fitted on", "steps", "parameters", "MACs at 720p", *SETS]
    text += table(header, [line for case in (SMALL, LARGE) for line in lines(case, found)])
    text += f"\n\n{learned(list(found.values()))}"
    missing = [
        f"{job.network} at {job.ratio:g} ({job.images}, {job.patches})"
        for job in JOBS
        if job not in found
    ]
    if missing:
        told = ", ".join(missing)
        text += f"\n\n**{len(missing)} of {len(JOBS)} rows are not made yet**: {told}."
    times = {
        case.name: json.loads(file.read_text())
        for case in (SMALL, LARGE)
        if (file := work / f"{case.name}-times.json").exists()
    }
    text += f"\n\n## Latency\n\n{latency(times)}\n\n## Pictures\n\n"
    strips = {case.name: crops(case, data, work) for case in (SMALL, LARGE)}
    rows = {name: strip for name, strip in strips.items() if strip is not None}
    if rows:
        whole = Image.fromarray(np.vstack(list(rows.values())))
        whole.save(RESULTS / f"{NAME}.png", optimize=True)
        text += (
            f"![crops]({NAME}.png)\n\n*Parts of a shipped image and of a drawing: dense, pruned "
            f"at 0.3 and at 0.5; from the top: {', '.join(rows)}.* "
        )
    text += (
        "Whole images, side by side:\n\n"
        f"`{shown('prune', f'{SMALL.name}.pth', '--ratio', '0.3', '-o', 'small.safetensors')}`<br>"
        f"`{shown('upscale', 'small.safetensors', 'coffee.png', '-o', 'seen')} "
        f"--compare --with {SMALL.name}.pth`"
    )
    write(NAME, "Real-ESRGAN pruned without training", text,
          {"rows": list(found.values()), "times": times},
          "python benchmarks/realesrgan_pruned.py DATA --times")  # fmt: skip


def learned(rows: list[dict[str, Any]]) -> str:
    """Whether the network-wise steps helped, on pictures that no network was fitted to."""
    stages = [(row["agreement"]["refit"], row["agreement"]["network-wise"]) for row in rows]
    further = sum(any(end[name] < start[name] for name in SETS) for start, end in stages)
    if not further:
        same = sum(start == end for start, end in stages)
        untaken = (
            f", but for {same} of {len(rows)} rows: there they were no nearer on the pieces held "
            "out, so nothing of them was taken"
        )
        return f"The network-wise steps brought each network nearer{untaken if same else ''}."
    return (
        f"In {further} of {len(rows)} rows the network-wise steps took a network further from the "
        "dense one on some set: they lower the absolute error on the pieces that it is fitted on, "
        "and with networks that are near already, that is not what serves other pictures. "
        "`srdeploy prune --network-wise 0` leaves them out."
    )


def lines(case: Case, found: dict[Job, dict[str, Any]]) -> list[list[str]]:
    """A network's rows of the table: dense, pruned, and what bicubic upscaling is worth."""
    mine = {job: facts for job, facts in found.items() if job.network == case.name}
    if not mine:
        return []
    first = next(iter(mine.values()))
    rows = [[case.name, "dense", "", "", *_sizes(first["sizes"][0]), *[""] * len(SETS)]]
    for job, facts in sorted(mine.items(), key=lambda pair: pair[0].ratio):
        stages = facts["agreement"]["refit"], facts["agreement"]["network-wise"]
        near = [" to ".join(f"{stage[name]:.2f}" for stage in stages) for name in SETS]
        fitted = f"{job.images}, {job.patches}"
        sizes = _sizes(facts["sizes"][1])
        rows.append([case.name, f"{job.ratio:g}", fitted, facts["steps"], *sizes, *near])
    near = [f"{first['agreement']['bicubic'][name]:.2f}" for name in SETS]
    return [*rows, [case.name, "bicubic", "", "", "", "", *near]]


def _sizes(sizes: list[int]) -> list[str]:
    params, macs = sizes
    return [f"{params / 1e3:,.0f} K", f"{macs / 1e9:.1f} G"]


def latency(times: dict[str, Any]) -> str:
    """The table of latencies, where they were measured."""
    if not times:
        return "Not measured: that wants a quiet machine and `--times`."
    rows = []
    for case in (SMALL, LARGE):
        for key, row in zip(("dense", "0.3", "0.5"), times.get(case.name, ()), strict=False):
            ratio = [row[name] for name in ("speedup", "speedup_low", "speedup_high")]
            faster = "" if None in ratio else "{:.2f} [{:.2f}, {:.2f}]".format(*ratio)
            cells = [f"{row['p50_ms']:.1f} (iqr {row['iqr_ms']:.1f})"]
            rows.append([case.name, key, case.size, *cells, faster])
    told = (
        f"onnxruntime, {THREADS} threads, a process per artifact, in turns; the ratio is the "
        "median over rounds of paired medians, with its bootstrap interval. Where the page says "
        "that the machine was busy, no time here is to be quoted.\n\n"
    )
    return told + table(["network", "ratio", "LR size", "p50 ms", "times faster [95 %]"], rows)


def crops(case: Case, data: Path, work: Path) -> NDArray[np.uint8] | None:
    """What is shown of one network: a strip; None where a network is not made yet."""
    pruned = [work / f"{job.key()}.safetensors" for job in SHOWN if job.network == case.name]
    if not all(file.exists() for file in pruned):
        return None
    networks = [load_network(one) for one in (case.weights(data), *map(str, pruned))]
    scale, parts = networks[0].card.scale, []
    for name, number, top, left in CROPS:
        pair = benchmark(name, data, work, scale)[number]
        for network in networks:
            image = to_uint8(upscaled(network, [pair])[0])
            parts.append(image[top : top + CROP, left : left + CROP])
    return np.hstack(parts)


if __name__ == "__main__":
    main()
