"""How well are networks predicted that were not measured? Layers' tables against whole networks.

    python benchmarks/latency_prediction.py DATA [--only NAME ...] [--held-out 12] [--device URI]

DATA holds weights/. Times are kept in runs/latency_prediction: what was measured is not repeated.
ncnn and torch are not among the ways: no probe of ours runs in them here.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from results_io import quiet, table, write

from srdeploy.fitting.bench import CALM, Bench
from srdeploy.fitting.conditions import Conditions, Way
from srdeploy.fitting.predict import errors
from srdeploy.fitting.profile import observe, profile
from srdeploy.fitting.samples import sample_removals
from srdeploy.fitting.subject import Subject
from srdeploy.measure.store import Store
from srdeploy.models.load import load_network

ROOT = Path(__file__).parents[1]
THREADS = 2
NETWORKS = {
    "EDSR-S": ("edsr-s-x2", (160, 240)),
    "EDSR f64b5": ("DATA/weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt", (160, 240)),
    "VDSR": ("DATA/weights/vdsr/model_epoch_50.pth", (64, 64)),
    "Compact": ("DATA/weights/realesrgan/realesr-animevideov3.pth", (128, 128)),
}
LOCAL = (
    Way("onnxruntime", "fp32"),
    Way("onnxruntime", "int8"),
    Way("openvino", "bf16"),
    Way("openvino", "int8"),
)
ELSEWHERE = (Way(None, "fp32"), Way(None, "int8"))
TARGET = "The target is a median of at most 5 % and a 90th percentile of at most 10 %."


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with weights/")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--held-out", type=int, default=12, help="networks that are predicted")
    parser.add_argument("--device", default="local", help="URI")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    asked = parser.parse_args()
    rows, raw = [], []
    for name in asked.only:
        for way in LOCAL if asked.device == "local" else ELSEWHERE:
            found = measure(name, way, asked)
            raw.append(found)
            rows.append([
                name, f"{way.runtime or asked.device} {way.precision}", str(found["block"]),
                f"{found['median']:.1%}", f"{found['p90']:.1%}", f"{found['worst']:.1%}",
                str(len(found["held_out"])), f"{found['of_medians']:.1%}",
                f"{found['unrest']:.2f}",
            ])  # fmt: skip
    header = ["network", "runs in", "block", "median error", "90th percentile", "largest",
              "networks", "of medians", "unrest"]  # fmt: skip
    text = (
        f"{TARGET} Each network was cut to widths drawn at random for each group, in the device's "
        "blocks; none of those that are predicted had been measured. Predicted from probes of "
        f"layers and four whole networks; {THREADS} threads. Errors are those of undisturbed "
        "times: the ratio to a file that takes turns with all others in every run, times that "
        f"file's {CALM}th percentile. Other tenants of the machine slow it for seconds, and equal "
        "files then differ in their medians. *Of medians*: the median error of "
        "predicted medians; *unrest*: the median over the undisturbed time, of the networks that "
        "correct the sum.\n\n" + table(header, rows)
    )
    where = "cpu-2threads" if asked.device == "local" else asked.device.partition(":")[0]
    write(f"latency-prediction-{where}", "Predicted latency", text, raw,
          repeated(asked), out=asked.out)  # fmt: skip


def repeated(asked: argparse.Namespace) -> str:
    """The command that makes the page again."""
    words = ["python benchmarks/latency_prediction.py DATA"]
    if asked.only != list(NETWORKS):
        words += ["--only", *(shlex.quote(name) for name in asked.only)]
    words += ["--held-out", str(asked.held_out)]
    return " ".join(words + ["--device", asked.device] * (asked.device != "local"))


def subject_of(name: str, data: Path) -> tuple[str, tuple[int, int]]:
    """The file of a network, and the height and width of the LR image that it is timed on."""
    file, size = NETWORKS[name]
    return file.replace("DATA", str(data)), size


def measure(name: str, way: Way, asked: argparse.Namespace) -> dict[str, Any]:
    file, size = subject_of(name, asked.data)
    subject = Subject.of(load_network(file))
    folder = ROOT / "runs" / "latency_prediction"
    folder.mkdir(parents=True, exist_ok=True)
    conditions = Conditions(size, subject.network.card.scale, THREADS)
    with Store.open(folder / "times.sqlite") as store, Bench(asked.device, store) as bench:
        predict = profile(subject, bench, way, conditions, folder)
        # The first two are the whole network and its half, which correct the sum.
        drawn = sample_removals(subject.groups, predict.table.block, asked.held_out + 2, seed=11)
        known = [one.removed for one in predict.observations]
        others = [one for one in drawn if one not in known]
        held_out = observe(subject, others, bench, way, conditions, folder)
    found = errors(predict, held_out)
    return {
        "network": name,
        "way": str(way),
        "block": predict.table.block,
        "factors": predict.factors,
        "unrest": predict.unrest,
        "of_medians": float(
            np.median([abs(predict(o.removed) / o.median_ms - 1) for o in held_out])
        ),
        "median": float(np.median(found)),
        "p90": float(np.percentile(found, 90)),
        "worst": max(found),
        "held_out": [
            {
                "removed": dict(o.removed),
                "undisturbed_ms": o.ms,
                "predicted_undisturbed_ms": predict.undisturbed(o.removed),
                "median_ms": o.median_ms,
                "predicted_ms": predict(o.removed),
            }
            for o in held_out
        ],
    }


if __name__ == "__main__":
    quiet()
    main()
