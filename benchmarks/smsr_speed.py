"""SMSR, forms against each other on a benchmark set: published way, dense forms, our sparse forms.

    python benchmarks/smsr_speed.py DATA [--threads 2] [--rounds 9]

All forms are loaded in one process and take turns, image by image, in an order that is turned round
every round; a pause before each turn lets the threads of the form before come to rest. Every figure
is the median of a form's turns on an image; ratios are medians of the ratios within rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_smsr import PublishedSMSR
from results_io import own_command, quiet, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.load import load_network
from srdeploy.models.smsr.dense import DenseMasks
from srdeploy.models.smsr.network import SMSR
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.sparse.engine import SparseEngine

PAUSE = 0.04
Form = Callable[[torch.Tensor], Any]

PUBLISHED, DENSE_TORCH, DENSE_ORT = "published way", "dense, torch", "dense, onnxruntime"
SPARSE, SPARSE_TORCH, SPARSE_ORT = "sparse", "sparse, torch only", "sparse, onnxruntime"
FULL = "sparse, masks full"
LEGEND = {
    PUBLISHED: "explicit im2col and NCHW gathers (`benchmarks/published_smsr.py`)",
    DENSE_TORCH: "dense-with-masks, PyTorch, channels-last",
    DENSE_ORT: "dense-with-masks ONNX",
    SPARSE: "`--runtime sparse` with its compiled kernel",
    SPARSE_TORCH: "`--runtime sparse` without a compiler: torch's operators",
    SPARSE_ORT: "`export --sparse`: ONNX with branches",
    FULL: "`--runtime sparse`, all masks set: what the kernel gives without skipping",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path, help="folder with benchmark/ and weights/")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--seconds", type=float, default=150, help="stop after the round then")
    options.add_argument("--onnx", type=Path, help="folder with the exported files, made if empty")
    asked = options.parse_args()
    torch.set_num_threads(asked.threads)
    network = load_network(asked.data / "weights/smsr/SMSR_X2_model_1000.pt")
    assert isinstance(network.module, SMSR)
    images = {
        pair.name: torch.from_numpy(pair.lr().transpose(2, 0, 1)[None].astype(np.float32))
        for pair in open_benchmark(asked.data / "benchmark/Set5", 2)
    }
    with tempfile.TemporaryDirectory() as folder:
        exported = asked.onnx or Path(folder)
        exported.mkdir(parents=True, exist_ok=True)
        forms, engine = _forms(network, exported, asked.threads)
        densities, chosen, worst = _check(forms, engine, images)
        times = _measure(forms, images, asked.rounds, asked.seconds)
    text, data = _report(times, densities, chosen, worst, asked.threads)
    name = f"smsr-x2-set5-forms-fp32-cpu-{asked.threads}threads"
    write(name, "SMSR x2 on Set5: dense and sparse forms", text, data, own_command(asked.data))


def _forms(network: Any, folder: Path, threads: int) -> tuple[dict[str, Form], SparseEngine]:
    module = network.module
    forms: dict[str, Form] = {PUBLISHED: PublishedSMSR(module)}
    dense = DenseMasks(module).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run_dense(x: torch.Tensor) -> torch.Tensor:
        return dense(x.contiguous(memory_format=torch.channels_last))

    forms[DENSE_TORCH] = run_dense
    for name, sparse in ((DENSE_ORT, False), (SPARSE_ORT, True)):
        path = folder / ("sparse.onnx" if sparse else "dense.onnx")
        if not path.exists():
            export_onnx(network, path, sparse=sparse)
        session = OnnxSession(path, threads=threads)
        forms[name] = lambda x, session=session: session.run(x.numpy())
    forms[SPARSE] = engine = SparseEngine(module, backend="native")
    forms[SPARSE_TORCH] = SparseEngine(module, backend="torch")
    full = SparseEngine(module, backend="native", form="rows")
    for branch in full.frame.mask_branches:
        branch.decide = torch.ones_like
    forms[FULL] = full
    return forms, engine


def _check(
    forms: dict[str, Form], engine: SparseEngine, images: dict[str, torch.Tensor]
) -> tuple[dict[str, float], dict[str, list[str]], float]:
    """Mean density per image, forms chosen, and the largest difference between the forms."""
    densities, chosen, worst = {}, {}, 0.0
    for name, x in images.items():
        reference = torch.as_tensor(forms[DENSE_TORCH](x))
        for form, run in forms.items():
            if form != FULL:
                worst = max(worst, float((torch.as_tensor(run(x)) - reference).abs().max()))
        engine(x)
        densities[name] = sum(c.density for c in engine.choices) / len(engine.choices)
        chosen[name] = sorted({c.form for c in engine.choices})
    return densities, chosen, worst


def _measure(
    forms: dict[str, Form], images: dict[str, torch.Tensor], rounds: int, seconds: float
) -> dict[str, dict[str, list[float]]]:
    """Milliseconds per form and image, one figure per round."""
    times: dict[str, dict[str, list[float]]] = {f: {i: [] for i in images} for f in forms}
    end = time.monotonic() + seconds
    for number in range(rounds):
        for name, x in images.items():
            for form in list(forms) if number % 2 == 0 else list(forms)[::-1]:
                time.sleep(PAUSE)
                start = time.perf_counter()
                forms[form](x)
                times[form][name].append((time.perf_counter() - start) * 1e3)
        if time.monotonic() > end:
            break
    return times


def _report(
    times: dict[str, dict[str, list[float]]],
    densities: dict[str, float],
    chosen: dict[str, list[str]],
    worst: float,
    threads: int,
) -> tuple[str, dict[str, Any]]:
    images = list(densities)
    totals = {form: np.sum([times[form][i] for i in images], 0) for form in times}
    medians = {form: {i: float(np.median(times[form][i])) for i in images} for form in times}
    rows = [
        [form, *(f"{medians[form][i]:.1f}" for i in images), f"{np.median(totals[form]):.1f}",
         f"{np.median(totals[PUBLISHED] / totals[form]):.2f}",
         f"{_against_dense(totals, form):.2f}"]
        for form in times
    ]  # fmt: skip
    density = ["*density*", *(f"{densities[i]:.0%}" for i in images), "", "", ""]
    header = ["ms", *images, "all five", "x published", "x fastest dense"]
    best = {i: min(medians[DENSE_TORCH][i], medians[DENSE_ORT][i]) for i in images}
    per_image = ", ".join(f"{i} {best[i] / medians[SPARSE][i]:.2f}" for i in images)
    spread = ", ".join(
        f"{form} {np.percentile(t, 25):.0f} to {np.percentile(t, 75):.0f}"
        for form, t in totals.items()
    )
    legend = "\n".join(f"* {form}: {meaning}" for form, meaning in LEGEND.items())
    forms_chosen = ", ".join(f"{i}: {' and '.join(chosen[i])}" for i in images)
    text = f"""
{table(header, [*rows, density])}

{legend}

fp32, {threads} threads, whole network, medians of {len(totals[SPARSE])} interleaved rounds in one
process. Quartiles of the total, ms: {spread}.

Fastest dense form against sparse, per image: {per_image}. The dispatcher chose: {forms_chosen}.
Largest difference between forms: {worst:.1e} of 255.
"""
    data = {"times_ms": times, "densities": densities, "chosen": chosen, "max_difference": worst}
    return text, data


def _against_dense(totals: dict[str, Any], form: str) -> float:
    """Median over rounds of the faster dense form's time over this form's."""
    fastest = min((DENSE_TORCH, DENSE_ORT), key=lambda f: float(np.median(totals[f])))
    return float(np.median(totals[fastest] / totals[form]))


if __name__ == "__main__":
    quiet()
    main()
