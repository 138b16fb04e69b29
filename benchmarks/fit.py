"""Is a fitted network better than the best single ratio that keeps the same budget?

    python benchmarks/fit.py DATA [--only NAME ...] [--shares .25 .4 .6] [--way openvino:bf16]
                             [--free]

DATA holds weights/, train/ and benchmark/. Budgets are shares of the dense network's time. A single
ratio, in steps of .05, prunes every group alike, with widths as they come or in blocks of the
processor; of either kind the smallest ratio that keeps the budget is made, by the same method. What
is chosen is chosen on photographs that are not reported. In the end the dense network, the ratio's
and the fitted one take turns, and the budget is the share of the dense network's time in these
turns: a machine that is slower for a minute is so for all three. With --free, `fit` chooses
precision and runtime, too, and the single ratio stays in --way. What was made is kept in runs/fit.
"""

from __future__ import annotations

import argparse
import json
import shlex
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
SETS = ("Set5", "B100")
HELD_OUT = 6
"""Photographs of BSDS500's test set, of which B100 holds none, that decide."""

GENERATIVE = ("Compact",)
"""Networks trained with a GAN: nearness to the dense one's pictures is what is kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with weights/, train/ and benchmark/")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--shares", nargs="+", type=float, default=[0.25, 0.4, 0.6])
    parser.add_argument("--way", default="onnxruntime:fp32", help="runtime and precision")
    parser.add_argument("--free", action="store_true", help="fit chooses precision and runtime")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    rows, raw = [], []
    for name in asked.only:
        for found in compare(name, asked):
            raw.append(found)
            rows.append(row_of(found))
    header = ["network", "budget", "ratio", "used by it", "used by the fit", "in",
              *(f"{one}: ratio" for one in SETS), *(f"{one}: fitted" for one in SETS),
              "minutes"]  # fmt: skip
    gains = {one: [found["fitted"][one] - found["uniform"][one] for found in raw] for one in SETS}
    told = "; ".join(
        f"{one} {sum(g) / len(g):+.2f} dB on average ({min(g):+.2f} to {max(g):+.2f})"
        for one, g in gains.items()
    )
    text = (
        f"Fitted against one ratio: {told}. PSNR in dB under each network's protocol, of the "
        f"artifacts; of {', '.join(GENERATIVE)} that to the dense network's pictures. Budgets are "
        "shares of the dense network's time; used is what was taken of them in turns with it, "
        f"{THREADS} threads, medians of ratios. Nothing was trained. "
        "Minutes: what `srdeploy fit` took, measuring included.\n\n" + table(header, rows)
    )
    mode = "free" if asked.free else asked.way.replace(":", "-")
    names = [shlex.quote(name) for name in asked.only]
    options = f" --only {' '.join(names)}" * (asked.only != list(NETWORKS))
    options += " --free" * asked.free + f" --way {asked.way}" * (asked.way != "onnxruntime:fp32")
    write(f"fit-{mode}-cpu-2threads", "Fitted to a budget", text, raw,
          f"python benchmarks/fit.py DATA{options}", out=asked.out)  # fmt: skip


def row_of(found: dict[str, Any]) -> list[str]:
    fitted, uniform = found["fitted"], found["uniform"]
    return [
        found["network"], f"{found['share']:g} ({found['budget_ms']:.1f} ms)",
        f"{uniform['ratio']:g}" + (" in blocks" if uniform["round_to"] > 1 else ""),
        f"{uniform['used']:.1%}", f"{fitted['used']:.1%}", fitted["way"],
        *(f"{uniform[one]:.2f}" for one in SETS),
        *(f"{fitted[one]:.2f} ({fitted[one] - uniform[one]:+.2f})" for one in SETS),
        f"{found['minutes']:.0f}",
    ]  # fmt: skip


def compare(name: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    file, size = subject_of(name, asked.data)
    way = Way(*asked.way.split(":"))
    folder = ROOT / "runs" / "fit" / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    subject = Subject.of(load_network(file))
    conditions = Conditions(size, subject.network.card.scale, THREADS)
    with Store.open(folder / "times.sqlite") as store, Bench("local", store) as bench:
        (dense,) = observe(subject, [{}], bench, way, conditions, folder)
        ratios = {
            (ratio, block): removals(
                subject.grouping,
                subject.options.model_copy(update={"ratio": ratio, "round_to": block}),
            )
            for ratio in RATIOS
            for block in (1, find_block().channels)
        }
        times = observe(subject, list(ratios.values()), bench, way, conditions, folder)
    speeds = dict(zip(ratios, times, strict=True))
    whole = folder / f"dense-{way.name}.onnx"
    if not whole.exists():
        srdeploy("export", file, "--precision", way.precision, "-o", str(whole))
    return [
        one_budget(name, file, share, share * dense.median_ms, way, speeds, folder, asked)
        for share in asked.shares
    ]


def one_budget(
    name: str, file: str, share: float, budget: float, way: Way,
    speeds: dict[tuple[float, int], Observation], folder: Path, asked: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    height, width = NETWORKS[name][1]
    here = folder / f"{way.name}-{share:g}{'-free' * asked.free}"
    here.mkdir(exist_ok=True)
    kept = here / "found.json"
    if kept.exists():
        return json.loads(kept.read_text("utf-8"))
    only = () if asked.free else ("--runtime", way.runtime or "", "--precision", way.precision)
    (fitted,) = srdeploy(
        "fit", file, "--input", f"{width}x{height}", "--budget", f"{budget:.3f}ms", *only,
        "--threads", str(THREADS), "--eval-data", str(held_out(asked.data, folder)),
        "--store", str(folder / "times.sqlite"), "-o", str(here / "fitted"),
    )  # fmt: skip
    key, artifact = uniform(name, file, budget, way, speeds, here, asked)
    final = f"{here / 'fitted' / fitted['artifact']}@{fitted['runtime']}"
    told: dict[str, dict[str, Any]] = {
        "uniform": dict(zip(("ratio", "round_to"), key, strict=True)),
        "fitted": {"way": f"{fitted['runtime']} {fitted['precision']}", "widths": fitted["widths"]},
    }
    for number, benchmark in enumerate(SETS):
        whole = folder / f"dense-{way.name}.onnx"
        _, *both = judged([f"{whole}@{way.runtime}", f"{artifact}@{way.runtime}", final], file,
                          asked.data / "benchmark" / benchmark, (height, width))  # fmt: skip
        for one, row in zip(told, both, strict=True):
            told[one][benchmark] = figure(name, row)
            if number == 0:
                faster = [row["speedup_low"], row["speedup"], row["speedup_high"]]
                used = 1 / (faster[1] * share)
                told[one] |= {"ms": row["p50_ms"], "faster": faster, "used": used}
    minutes = sum(fitted["seconds"].values()) / 60
    found = {"network": name, "share": share, "budget_ms": budget, "minutes": minutes,
             "predicted_ms": fitted["predicted_ms"], **told}  # fmt: skip
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def uniform(
    name: str, file: str, budget: float, way: Way, speeds: dict[tuple[float, int], Observation],
    here: Path, asked: argparse.Namespace,
) -> tuple[tuple[float, int], Path]:  # fmt: skip
    """The better single ratio, of widths as they come and of those in blocks, and its artifact."""
    height, width = NETWORKS[name][1]
    found: dict[tuple[float, int], Path] = {}
    for block in sorted({block for _, block in speeds}):
        fast = [key for key, one in speeds.items() if one.median_ms <= budget]
        kept = [ratio for ratio, its_block in fast if its_block == block]
        if not kept:
            continue
        key = min(kept), block
        small, artifact = (here / f"uniform-{block}.{e}" for e in ("safetensors", "onnx"))
        if not artifact.exists():
            srdeploy("prune", file, "--ratio", str(key[0]), "--round-to", str(block),
                     "--no-quality", "-o", str(small))  # fmt: skip
            srdeploy("export", str(small), "--precision", way.precision, "-o", str(artifact))
        found[key] = artifact
    if not found:
        raise SystemExit(f"{name}: no single ratio keeps {budget:.1f} ms; choose larger --shares.")
    rows = judged([f"{one}@{way.runtime}" for one in found.values()], file,
                  held_out(asked.data, here.parent), (height, width))  # fmt: skip
    return max(zip(found.items(), rows, strict=True), key=lambda one: figure(name, one[1]))[0]


def judged(
    artifacts: list[str], dense: str, images: Path, size: tuple[int, int]
) -> list[dict[str, Any]]:
    """Artifacts in turns: their times on one size and their quality on a set of images."""
    height, width = size
    rows: list[dict[str, Any]] = srdeploy(
        "bench", *artifacts, "--input", f"{width}x{height}", "--eval-data", str(images),
        "--dense", dense, "--threads", str(THREADS),
    )  # fmt: skip
    return rows


def figure(name: str, row: dict[str, Any]) -> float:
    """What a network of this kind is judged by, dB."""
    if name in GENERATIVE:
        return float(row["agreement"])
    return float(row.get("psnr_y") or row["psnr_rgb"])


def held_out(data: Path, folder: Path) -> Path:
    """A folder of the photographs that decide."""
    found = folder / "held-out"
    found.mkdir(exist_ok=True)
    for image in sorted((data / "train" / "BSDS500_test").rglob("*.*"))[:HELD_OUT]:
        link = found / image.name
        if not link.exists():
            link.symlink_to(image.resolve())
    return found


if __name__ == "__main__":
    quiet()
    main()
