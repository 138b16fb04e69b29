"""SMSR in the native runner against the same in Python, in every precision, on Set5.

    python benchmarks/smsr_runner.py DATA [--threads 2] [--rounds 9] [--busy]

The runner for this processor (`python -m srdeploy.devices.build_runner`) is a program of its own,
compiled for all processors of a kind; Python calls a library that was compiled here, and in fp32
also the engine in Python. They take turns: in every round each runs an image several times.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results_io import own_command, quiet, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.devices.native import read_report, runner_arguments
from srdeploy.devices.native_build import runner_binary
from srdeploy.devices.protocol import Completed
from srdeploy.models.load import load_network
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import network_input
from srdeploy.runtime.session import Session
from srdeploy.runtime.sparse_file import write_model
from srdeploy.util.progress import track

ENGINE = "fp32, Python engine"
PRECISIONS = ("fp32", "bf16", "int8")
RUNS = 5
"""Of an image, one after another."""


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("data", type=Path, help="folder with benchmark/ and weights/")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=9)
    asked = options.parse_args()
    network = load_network(asked.data / "weights/smsr/SMSR_X2_model_1000.pt")
    images = {
        pair.name: network_input(network.card, pair.lr(), 2)
        for pair in open_benchmark(asked.data / "benchmark/Set5", 2)
    }
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    told: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        here: dict[str, Session] = {}
        for form in (ENGINE, *PRECISIONS):
            precision = None if form == ENGINE else form
            write_model(network, folder / f"{form}.smsr", precision=precision or "fp32")
            here[form] = stack.enter_context(
                open_session(network, runtime="sparse", precision=precision, threads=asked.threads)
            )
        with track("measure", asked.rounds * len(images)) as bar:
            for _ in range(asked.rounds):
                for image, x in images.items():
                    for form, session in here.items():
                        times = found.setdefault(form, {}).setdefault(image, {})
                        times.setdefault("python", []).append(_session(session, x))
                        ms, runner = _runner(folder / f"{form}.smsr", x, asked.threads)
                        times.setdefault("runner", []).append(ms)
                        told[form] = runner
                    bar.update()
    text, ratios = _page(found, told, asked.threads, asked.rounds)
    write(f"smsr-x2-set5-runner-cpu-{asked.threads}threads",
          "SMSR x2 in the native runner against Python", text,
          {"ms": found, "ratios": ratios, "told": told}, own_command(asked.data))  # fmt: skip


def _session(session: Session, x: NDArray[np.float32]) -> float:
    """Milliseconds of a run, after one that does not count."""
    session.run(x)
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        session.run(x)
        times.append(1e3 * (time.perf_counter() - started))
    return median(times)


def _runner(net: Path, x: NDArray[np.float32], threads: int) -> tuple[float, dict[str, Any]]:
    """The same in the program."""
    tensor = net.with_name("x")
    x.astype("<f4").tofile(tensor)
    n, c, h, w = x.shape
    arguments = runner_arguments(
        {"net": str(net)}, tensor=str(tensor), shape=(n, c, h, w), threads=threads,
        minimum=(RUNS, 0.0),
    )  # fmt: skip
    command = [str(runner_binary(platform.machine())), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    report = read_report(Completed(done.returncode, done.stdout, done.stderr), "the runner")
    return median(report.samples_ms), {"kernel": report.kernel, "precision": report.precision}


def _page(
    found: dict[str, dict[str, dict[str, list[float]]]],
    told: dict[str, dict[str, Any]],
    threads: int,
    rounds: int,
) -> tuple[str, dict[str, list[float]]]:
    rows, ratios = [], {}
    for form, images in found.items():
        total = {
            where: np.sum([times[where] for times in images.values()], 0)
            for where in ("python", "runner")
        }
        of_rounds = total["runner"] / total["python"]
        ratios[form] = [float(one) for one in of_rounds]
        low, middle, high = np.percentile(of_rounds, (25, 50, 75))
        rows.append([
            form, told[form]["kernel"],
            *(f"{median(t['runner']):.1f} / {median(t['python']):.1f}" for t in images.values()),
            f"{np.median(total['runner']):.1f} / {np.median(total['python']):.1f}",
            f"{middle:.2f} [{low:.2f}, {high:.2f}]",
        ])  # fmt: skip
    header = ["ms, runner / Python", "runner's kernel", *next(iter(found.values())), "all",
              "runner over Python"]  # fmt: skip
    text = (
        f"{threads} threads, medians of {rounds} interleaved rounds of {RUNS} runs an image; "
        "quartiles of the ratios within rounds in brackets.\n\n" + table(header, rows)
    )
    return text, ratios


if __name__ == "__main__":
    quiet()
    main()
