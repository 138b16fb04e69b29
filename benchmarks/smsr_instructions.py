"""SMSR on aarch64 in instructions: the native runner inside the masks against ncnn's dense forms.

    python benchmarks/smsr_instructions.py DATA [--qemu qemu-aarch64] [--side 48]

The runner for aarch64 (`python -m srdeploy.devices.build_runner --arch aarch64`) runs in QEMU's
user emulation, whose plugin `count_instructions.c` counts what is executed. The instructions of an
image are those of a process that runs it twice without those of one that runs it once, with one
thread: the same on every machine, however busy. Images are the middle squares of Set5's.
Instructions are not time: memory, and how many a processor issues at once, do not show.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from results_io import own_command, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.devices.native import read_report, runner_arguments
from srdeploy.devices.native_build import native_model, runner_binary
from srdeploy.devices.protocol import Completed
from srdeploy.exporting.ncnn.export import export_ncnn
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.smsr.network import SMSR
from srdeploy.runtime.ncnn.pair import weights_path
from srdeploy.runtime.pixels import network_input
from srdeploy.runtime.sparse_file import write_model
from srdeploy.util.progress import track

PLUGIN = Path(__file__).with_name("count_instructions.c")
SPARSE = ("fp32", "fp16", "bf16", "int8")
DENSE = "ncnn {}, dense with masks"
FREE = "ncnn {}, without masks"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("data", type=Path, help="folder with benchmark/ and weights/")
    options.add_argument("--qemu", default="qemu-aarch64", help="one that loads plugins")
    options.add_argument("--side", type=int, default=48)
    asked = options.parse_args()
    network = load_network(asked.data / "weights/smsr/SMSR_X2_model_1000.pt")
    images = {
        pair.name: _middle(network_input(network.card, pair.lr(), 2), asked.side)
        for pair in open_benchmark(asked.data / "benchmark/Set5", 2)
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = folder / "count.so"
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", str(PLUGIN), "-o", str(plugin)], check=True
        )
        command = [asked.qemu, "-plugin", str(plugin), str(runner_binary("aarch64"))]
        found = counted(command, network, images, folder)
    version = subprocess.run([asked.qemu, "--version"], capture_output=True, text=True, check=True)
    text, data = page(found, asked.side, version.stdout.splitlines()[0])
    write(f"smsr-x2-set5-instructions-aarch64-{asked.side}", "SMSR x2 on aarch64, in instructions",
          text, data, own_command(asked.data))  # fmt: skip


def counted(
    command: list[str], network: Network, images: dict[str, NDArray[np.float32]], folder: Path
) -> dict[str, dict[str, Any]]:
    """By form: instructions per image, and what the runner says of itself."""
    jobs = []
    for precision in SPARSE:
        file = folder / f"{precision}.smsr"
        write_model(network, file, precision=precision)
        jobs += [(f"sparse {precision}", {"net": str(file)}, "fp32", i) for i in images]
    for form, one in ((DENSE, network), (FREE, without_masks(network))):
        onnx = folder / f"{len(jobs)}.onnx"
        export_onnx(one, onnx, check=False)
        param, weights = native_model(onnx)
        first = next(iter(images))  # what is computed does not depend on the image
        for precision in ("fp32", "fp16"):
            files = {"param": str(param), "bin": str(weights)}
            jobs.append((form.format(precision), files, precision, first))
    eight = folder / "int8.param"
    export_ncnn(network, eight, precision="int8")
    files = {"param": str(eight), "bin": str(weights_path(eight))}
    jobs.append((DENSE.format("int8"), files, "fp32", first))
    found: dict[str, dict[str, Any]] = {}
    with track("count", len(jobs)) as bar:
        for form, files, precision, name in jobs:
            once, _ = run(command, files, images[name], precision, 0, folder)
            twice, told = run(command, files, images[name], precision, 1, folder)
            row = found.setdefault(form, {"instructions": {}, "told": told})
            row["instructions"][name] = twice - once
            bar.update()
    return found


def without_masks(network: Network) -> Network:
    """The same with every channel dense: no mask is computed, and nothing is multiplied by one."""
    module = copy.deepcopy(network.module)
    assert isinstance(module, SMSR)
    with torch.no_grad():
        for one in module.mask_modules():
            for channels in one.body.ch_mask:
                channels.sparse.copy_(channels.dense - 1)
    return Network(module, network.card)


def run(
    command: list[str],
    files: dict[str, str],
    x: NDArray[np.float32],
    precision: str,
    more: int,
    folder: Path,
) -> tuple[int, dict[str, Any]]:
    """Instructions of a process that runs an image once and ``more`` times again."""
    x.astype("<f4").tofile(folder / "x")
    n, c, h, w = x.shape
    arguments = runner_arguments(
        files, tensor=str(folder / "x"), shape=(n, c, h, w), threads=1, precision=precision,
        minimum=(more, 0.0),
    )  # fmt: skip
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    report = read_report(Completed(done.returncode, done.stdout, done.stderr), "the emulator")
    lines = [line.split()[1] for line in done.stderr.splitlines() if line[:13] == "instructions "]
    if not lines:
        sys.exit(f"'{command[0]}' counted nothing; name one that loads plugins by --qemu.")
    told = {"precision": report.precision, "kernel": report.kernel,
            "density": [one.density for one in report.modules]}  # fmt: skip
    return int(lines[-1]), told


def page(found: dict[str, dict[str, Any]], side: int, version: str) -> tuple[str, dict[str, Any]]:
    images = list(next(iter(found.values()))["instructions"])
    dense = {form: next(iter(found[form]["instructions"].values()))
             for form in found if form.startswith("ncnn")}  # fmt: skip
    rows = []
    for form, row in found.items():
        counts = row["instructions"]
        shown = [counts.get(image, next(iter(counts.values()))) for image in images]
        rows.append([
            form, str(row["told"]["precision"]), *(f"{n / 1e6:.0f}" for n in shown),
            f"{np.mean(shown) / 1e6:.0f}",
            *(f"{one / np.mean(shown):.2f}" for one in dense.values()),
        ])  # fmt: skip
    header = ["millions of instructions", "computed in", *images, "mean",
              *(f"times fewer than {form}" for form in dense)]  # fmt: skip
    text = (
        f"The middle {side}x{side} pixels of each image, one thread, {version}. The dense forms "
        "execute the same for every image.\n\n" + table(header, rows)
    )
    return text, found


def _middle(x: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
    return np.ascontiguousarray(x[:, :, top : top + side, left : left + side])


if __name__ == "__main__":
    main()
