"""How much faster is a network pruned at .5? Dense and compact take turns in onnxruntime.

python benchmarks/pruned_latency.py DATA     # DATA holds weights/
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from results_io import quiet, srdeploy, table, write

THREADS = 2
CASES = [
    ("VDSR", "weights/vdsr/model_epoch_50.pth", "128x128", 3.0),
    ("EDSR f64b5", "weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt", "480x270", 2.5),
]


def main() -> None:
    data = Path(sys.argv[1])
    rows, raw = [], []
    for name, file, size, target in CASES:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(data / file, size, Path(folder))
        dense, small = found["bench"]
        macs = found["prune"]["macs_720p"]
        raw.append({"network": name, **found})
        rows.append([name, size, f"{dense['p50_ms']:.1f} (iqr {dense['iqr_ms']:.1f})",
                     f"{small['p50_ms']:.1f} (iqr {small['iqr_ms']:.1f})",
                     f"{small['speedup']:.2f} [{small['speedup_low']:.2f}, "
                     f"{small['speedup_high']:.2f}]",
                     f"{macs['dense'] / macs['compact']:.2f}", f"{target:.1f}"])  # fmt: skip
    header = ["network at .5 by L1", "LR size", "dense p50 ms", "compact p50 ms",
              "times faster [95 %]", "MACs ratio", "target"]  # fmt: skip
    text = (
        f"onnxruntime, {THREADS} threads, a process per artifact, turns of one second each, at "
        "least 30 runs and 20 seconds each; the ratio is the median over rounds of paired medians, "
        "with its bootstrap interval. x2: VDSR's input is the LR image upscaled.\n\n"
        + table(header, rows)
    )
    write(f"latency-pruned-half-onnxruntime-cpu-{THREADS}threads", "Pruned by half", text, raw,
          "python benchmarks/pruned_latency.py DATA")  # fmt: skip


def measure(weights: Path, size: str, folder: Path) -> dict[str, Any]:
    dense, small = folder / "dense.onnx", folder / "compact.onnx"
    compact = folder / "compact.safetensors"
    srdeploy("export", str(weights), "-o", str(dense))
    pruned = srdeploy("prune", str(weights), "--ratio", "0.5", "--no-quality", "-o", str(compact))
    srdeploy("export", str(compact), "-o", str(small))
    del pruned["output"], pruned["groups"]
    bench = srdeploy("bench", str(dense), str(small), "--scale", "2", "--input", size, "--runs",
                     "30", "--seconds", "20", "--threads", str(THREADS), "--no-quality",
                     "--runtime", "onnxruntime")  # fmt: skip
    return {"prune": pruned, "bench": bench}


if __name__ == "__main__":
    quiet()
    main()
