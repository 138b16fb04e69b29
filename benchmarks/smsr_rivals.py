"""SMSR on Set5: the sparse form in every precision against the dense form in every runtime here.

    python benchmarks/smsr_rivals.py DATA [--threads 2] [--runs 9] [--busy]

`srdeploy bench sparse` measures: all forms in one process and in turns, on the images of Set5 and,
with masks of given densities, on squares. Every figure is the median of the turns; ratios are
medians of ratios within rounds. PSNR is that of the same sessions. This script makes the page and
the chart, and adds B100's PSNR of the sparse forms.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from results_io import RESULTS, own_command, quiet, srdeploy, table, write

from srdeploy.models.load import load_network
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session

FP32 = "sparse fp32"


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("data", type=Path, help="folder with benchmark/ and weights/")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--runs", type=int, default=9)
    asked = options.parse_args()
    weights = asked.data / "weights/smsr/SMSR_X2_model_1000.pt"
    stem = f"smsr-x2-set5-rivals-cpu-{asked.threads}threads"
    with tempfile.TemporaryDirectory() as folder:
        found = srdeploy(
            *("bench", "sparse", str(weights), "--eval-data", str(asked.data / "benchmark/Set5")),
            *("--threads", str(asked.threads), "--runs", str(asked.runs)),
            *("--dispatch", f"{folder}/smsr.dispatch", "-o", str(RESULTS / f"{stem}.svg")),
        )
    found["network"] = weights.name
    b100 = {}
    for form in found["sizes"][0]["sparse_ms"]:
        precision = None if "engine" in form else form.split()[1]
        with open_session(load_network(weights), runtime="sparse", precision=precision,
                          threads=asked.threads) as session:  # fmt: skip
            b100[form] = evaluate(session, asked.data / "benchmark/B100", 2).psnr
    text = "\n\n".join([_images(found, b100), f"![chart]({stem}.svg)", _sizes(found)])
    write(stem, "SMSR x2 on Set5: skipping pixels against every dense form", text,
          {**found, "b100": b100}, own_command(asked.data))  # fmt: skip


def _images(found: dict[str, Any], b100: dict[str, float]) -> str:
    times, psnr = found["images_ms"], found["psnr"]
    images = list(next(iter(times.values())))
    totals = {form: np.sum([times[form][i] for i in images], 0) for form in times}
    dense = [form for form in found["sizes"][0]["dense_ms"] if form in found["allowed"]]
    rival = min(dense, key=lambda form: float(np.median(totals[form])))
    rows = []
    for form in times:
        low, middle, high = (
            np.percentile(totals[rival] / totals[form], share) for share in (25, 50, 75)
        )
        quality = [f"{one[form]:.3f}" for one in (psnr, b100) if form in one]
        rows.append([
            form, *(f"{np.median(times[form][i]):.1f}" for i in images),
            f"{np.median(totals[form]):.1f}", f"{middle:.2f} [{low:.2f}, {high:.2f}]",
            f"{float(np.median(totals[FP32] / totals[form])):.2f}", " / ".join(quality),
        ])  # fmt: skip
    header = ["ms", *images, "all", f"x {rival}", f"x {FP32}", "PSNR Set5 / B100"]
    missing = "; ".join(f"{name}: {reason}" for name, reason in found["missing"].items())
    return (
        table(header, rows)
        + f"\n\n{found['threads']} threads, whole networks, medians of {found['repeats']} "
        "interleaved rounds in one process; quartiles of the ratios in brackets. Forms count that "
        f"lose at most {found['drop']:g} dB on Set5. {found['sentences'][-1]}."
        + (f" Left out: {missing}." if missing else "")
    )


def _sizes(found: dict[str, Any]) -> str:
    parts = ["## Where skipping pays", "Squares of a photograph; the masks' thresholds are moved "
             "so that a share of the pixels is inside."]  # fmt: skip
    for one in found["sizes"]:
        header = [f"ms, {one['side']}x{one['side']}", *(f"{d:.0%}" for d in one["densities"])]
        rows = [[form, *(f"{value:.1f}" for value in ms)] for form, ms in one["sparse_ms"].items()]
        rows += [
            [form, *(f"{ms:.1f}" for _ in one["densities"])] for form, ms in one["dense_ms"].items()
        ]
        parts.append(table(header, rows))
    return "\n\n".join([*parts, *(f"* {one}" for one in found["sentences"][:-1])])


if __name__ == "__main__":
    quiet()
    main()
