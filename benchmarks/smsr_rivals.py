"""SMSR on Set5: the sparse form in every precision against the dense form in every runtime here.

    python benchmarks/smsr_rivals.py DATA [--threads 2] [--rounds 9] [--busy]

Sessions are opened in one process and take turns, image by image, in an order that is turned round
every round; a pause before each turn lets the threads of the one before come to rest. Every figure
is the median of the turns on an image, ratios are medians of ratios within rounds. PSNR is that of
the same sessions.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results_io import own_command, quiet, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.exporting.run import export
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session
from srdeploy.runtime.table import RUNTIMES

PAUSE = 0.04
LOSS = 0.10
"""dB below fp32 that a dense form may be to count as a rival."""

DENSE = {
    "onnxruntime": (("fp32", "onnx"), ("int8", "onnx")),
    "openvino": (("fp32", "onnx"), ("bf16", "onnx"), ("int8", "onnx")),
    "ncnn": (("fp32", "param"), ("int8", "param")),
}
SPARSE = ("fp32", "bf16", "int8")
FP32 = "sparse fp32"
ENGINE = "sparse fp32, Python engine"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("data", type=Path, help="folder with benchmark/ and weights/")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=9)
    asked = options.parse_args()
    network = load_network(asked.data / "weights/smsr/SMSR_X2_model_1000.pt")
    images = {
        pair.name: np.ascontiguousarray(pair.lr().transpose(2, 0, 1)[None], dtype=np.float32)
        for pair in open_benchmark(asked.data / "benchmark/Set5", 2)
    }
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        forms = opened(network, Path(folder), asked.threads, stack)
        psnr = {
            name: [
                evaluate(session, asked.data / "benchmark" / benchmark, 2).psnr
                for benchmark in (("Set5", "B100") if name.startswith("sparse") else ("Set5",))
            ]
            for name, session in forms.items()
        }
        times = measured(forms, images, asked.rounds)
        told = {name: [session.precision, *session.notes] for name, session in forms.items()}
    text, data = page(times, psnr, told, asked.threads)
    write(f"smsr-x2-set5-rivals-cpu-{asked.threads}threads",
          "SMSR x2 on Set5: skipping pixels against every dense form", text, data,
          own_command(asked.data))  # fmt: skip


def opened(network: Network, folder: Path, threads: int, stack: ExitStack) -> dict[str, Session]:
    """All forms that this machine has."""
    found: dict[str, Session] = {}

    def add(name: str, session: Session) -> None:
        found[name] = stack.enter_context(session)

    for runtime, kinds in DENSE.items():
        for precision, suffix in kinds if RUNTIMES[runtime].availability() else ():
            file = folder / f"{runtime if suffix == 'param' else 'net'}-{precision}.{suffix}"
            if not file.exists():
                export(network, "ncnn" if suffix == "param" else "onnx", file, precision=precision)
            add(f"{runtime} {precision}", open_session(file, runtime=runtime, threads=threads))
    add(ENGINE, open_session(network, runtime="sparse", threads=threads))
    for precision in SPARSE:
        file = folder / f"{precision}.smsr"
        export(network, "sparse-runner", file, precision=precision)
        add(f"sparse {precision}", open_session(file, threads=threads))
    return found


def measured(
    forms: dict[str, Session], images: dict[str, NDArray[np.float32]], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds per form and image, one figure per round; a round before is not counted."""
    times: dict[str, dict[str, list[float]]] = {f: {i: [] for i in images} for f in forms}
    for number in range(-1, rounds):
        for name, x in images.items():
            for form in list(forms) if number % 2 == 0 else list(forms)[::-1]:
                time.sleep(PAUSE)
                begun = time.perf_counter()
                forms[form].run(x)
                if number >= 0:
                    times[form][name].append((time.perf_counter() - begun) * 1e3)
    return times


def page(
    times: dict[str, dict[str, list[float]]],
    psnr: dict[str, list[float]],
    told: dict[str, list[Any]],
    threads: int,
) -> tuple[str, dict[str, Any]]:
    images = list(next(iter(times.values())))
    totals = {form: np.sum([times[form][i] for i in images], 0) for form in times}
    own = psnr[ENGINE][0]
    dense = [f for f in times if not f.startswith("sparse") and psnr[f][0] >= own - LOSS]
    rival = min(dense, key=lambda form: float(np.median(totals[form])))
    rows = []
    for form in times:
        low, middle, high = (
            np.percentile(totals[rival] / totals[form], share) for share in (25, 50, 75)
        )
        rows.append([
            form, *(f"{np.median(times[form][i]):.1f}" for i in images),
            f"{np.median(totals[form]):.1f}", f"{middle:.2f} [{low:.2f}, {high:.2f}]",
            f"{float(np.median(totals[FP32] / totals[form])):.2f}",
            " / ".join(f"{value:.3f}" for value in psnr[form]),
        ])  # fmt: skip
    best = min((f for f in times if f.startswith("sparse")), key=lambda f: np.median(totals[f]))
    worst = max(
        float(np.median(times[best][i]) / min(np.median(times[f][i]) for f in dense))
        for i in images
    )
    header = ["ms", *images, "all five", f"x {rival}", f"x {FP32}", "PSNR Set5 / B100"]
    text = (
        table(header, rows)
        + f"\n\n{threads} threads, whole networks, medians of {len(totals[FP32])} interleaved "
        f"rounds in one process; quartiles of the ratios in brackets. The fastest dense form that "
        f"loses at most {LOSS:g} dB on Set5 is {rival}; the fastest sparse one, {best}, takes at "
        f"most {worst:.2f} times the fastest dense form of an image."
    )
    return text, {"times_ms": times, "psnr": psnr, "told": told}


if __name__ == "__main__":
    quiet()
    main()
