"""Is a fitted network better than the best single ratio that keeps the same budget?

    python benchmarks/fit.py DATA [--only NAME ...] [--shares .25 .4 .6] [--free] [--steps 500]

DATA holds weights/ and benchmark/. Budgets are shares of the dense network's time. The single ratio
is the smallest, in steps of .05 and with widths in blocks or not, whose network keeps the budget;
both are pruned by the same method. With --free, precision and runtime may be chosen, too. What was
made is kept in runs/fit.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latency_prediction import NETWORKS, THREADS, subject_of
from results_io import quiet, srdeploy, table, write

from srdeploy.fitting.bench import Bench
from srdeploy.fitting.conditions import Conditions, Way
from srdeploy.fitting.predict import Observation
from srdeploy.fitting.profile import observe
from srdeploy.fitting.subject import Subject
from srdeploy.measure.store import Store
from srdeploy.models.load import load_network
from srdeploy.pruning.blocks import find_block
from srdeploy.pruning.options import removals

ROOT = Path(__file__).parents[1]
RATIOS = [n / 20 for n in range(1, 19)]
FP32 = Way("onnxruntime", "fp32")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with weights/ and benchmark/")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.25, 0.4, 0.6])
    parser.add_argument("--free", action="store_true", help="choose precision and runtime, too")
    parser.add_argument("--steps", type=int, default=500, help="of network-wise reconstruction")
    parser.add_argument("--sets", nargs="+", default=["Set5", "B100"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    rows, raw = [], []
    for name in asked.only:
        for found in compare(name, asked):
            raw.append(found)
            fitted, uniform = found["fitted"], found["uniform"]
            rows.append([
                name, f"{found['budget_ms']:.1f}",
                f"{uniform['ratio']:g}" + (" in blocks" if uniform["round_to"] > 1 else ""),
                f"{uniform['ms']:.1f}", f"{fitted['ms']:.1f}", f"{fitted['way']}",
                *(f"{uniform[s]:.2f}" for s in asked.sets),
                *(f"{fitted[s]:.2f} ({fitted[s] - uniform[s]:+.2f})" for s in asked.sets),
                f"{found['minutes']:.0f}",
            ])  # fmt: skip
    header = ["network", "budget ms", "best ratio", "its ms", "fitted ms", "in",
              *(f"ratio {s}" for s in asked.sets), *(f"fitted {s}" for s in asked.sets),
              "minutes"]  # fmt: skip
    text = (
        f"PSNR in dB under each network's protocol, of the artifacts; medians, {THREADS} threads. "
        "The ratio's network and the fitted one take turns. Nothing was trained. Minutes: what "
        "`srdeploy fit` took, measuring included.\n\n" + table(header, rows)
    )
    mode = "free" if asked.free else "onnxruntime-fp32"
    write(f"fit-{mode}-cpu-2threads", "Fitted to a budget", text, raw,
          "python benchmarks/fit.py DATA" + " --free" * asked.free, out=asked.out)  # fmt: skip


def compare(name: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    file, size = subject_of(name, asked.data)
    folder = ROOT / "runs" / "fit" / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    subject = Subject.of(load_network(file))
    conditions = Conditions(size, subject.network.card.scale, THREADS)
    with Store.open(folder / "times.sqlite") as store, Bench("local", store) as bench:
        (dense,) = observe(subject, [{}], bench, FP32, conditions, folder)
        ratios = {
            (ratio, block): removals(
                subject.grouping,
                subject.options.model_copy(update={"ratio": ratio, "round_to": block}),
            )
            for ratio in RATIOS
            for block in (1, find_block().channels)
        }
        times = observe(subject, list(ratios.values()), bench, FP32, conditions, folder)
    speeds = dict(zip(ratios, times, strict=True))
    budgets = [share * dense.ms for share in asked.shares]
    return [one_budget(name, file, budget, speeds, folder, asked) for budget in budgets]


def one_budget(
    name: str, file: str, budget: float, speeds: dict[tuple[float, int], Observation],
    folder: Path, asked: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    height, width = NETWORKS[name][1]
    here = folder / f"{budget:.2f}ms{'-free' * asked.free}"
    here.mkdir(exist_ok=True)
    steps = ("--network-wise", str(asked.steps))
    ways = () if asked.free else ("--runtime", "onnxruntime", "--precision", "fp32")
    data = str(asked.data / "benchmark" / asked.sets[0])
    (fitted,) = srdeploy(
        "fit", file, "--input", f"{width}x{height}", "--budget", f"{budget:.3f}ms", *ways, *steps,
        "--threads", str(THREADS), "--eval-data", data, "--store", str(folder / "times.sqlite"),
        "-o", str(here / "fitted"),
    )  # fmt: skip
    kept = [key for key, one in speeds.items() if one.ms <= budget]
    if not kept:
        raise SystemExit(f"{name}: no single ratio keeps {budget:.1f} ms; choose larger --shares.")
    # Of the ratios that keep the budget, the one that leaves most channels.
    ratio, block = min(kept, key=lambda key: sum(speeds[key].removed.values()))
    small, artifact = here / "uniform.safetensors", here / "uniform.onnx"
    if not artifact.exists():
        srdeploy("prune", file, "--ratio", str(ratio), "--round-to", str(block), *steps,
                 "--no-quality", "-o", str(small))  # fmt: skip
        srdeploy("export", str(small), "-o", str(artifact))
    runtime = fitted["runtime"]
    final = f"{here / 'fitted' / fitted['artifact']}@{runtime}"
    told: dict[str, dict[str, Any]] = {
        "uniform": {"ratio": ratio, "round_to": block},
        "fitted": {"way": f"{runtime} {fitted['precision']}", "widths": fitted["widths"]},
    }
    for number, benchmark in enumerate(asked.sets):
        bench = srdeploy(
            "bench", f"{artifact}@onnxruntime", final, "--input", f"{width}x{height}",
            "--eval-data", str(asked.data / "benchmark" / benchmark), "--threads", str(THREADS),
        )  # fmt: skip
        for key, row in zip(told, bench, strict=True):
            told[key][benchmark] = row.get("psnr_y") or row["psnr_rgb"]
            if number == 0:
                told[key]["ms"] = row["p50_ms"]
    minutes = sum(fitted["seconds"].values()) / 60
    return {"network": name, "budget_ms": budget, "minutes": minutes,
            "predicted_ms": fitted["predicted_ms"], **told}  # fmt: skip


if __name__ == "__main__":
    quiet()
    main()
