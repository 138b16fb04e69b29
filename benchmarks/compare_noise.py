"""How often `srdeploy bench compare` is right: an artifact against itself, as is and slowed down.

    python benchmarks/compare_noise.py --sessions 12

Each session measures the same file twice, in turns. Where nothing differs a limit of 5 % should not
fail. For the other columns every sample of NEW is multiplied: a slowdown that is known exactly, in
noise that is real. "Apart" compares one session's BASE with the NEW of a later one, as a stored
baseline would; with several runs a side, sessions are put together.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from results_io import RESULTS, own_command, quiet, table, write

from srdeploy.benchmarking.deciding.baseline import measured_pair
from srdeploy.benchmarking.deciding.verdict import Limits, judge
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.models.load import load_network

LIMIT = 0.05
SLOWDOWNS = (0.0, 0.02, 0.1, 0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each artifact in a session")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--label", default="quiet", help="what else the machine does")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    scenario = Scenario(
        name="noise",
        inputs=((72, 96),),
        min_runs=5,
        min_seconds=given.seconds,
        turn_seconds=0.2,
        quality=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        export_onnx(load_network("edsr-s-x2"), path, check=False)
        sides = measured_pair(
            str(path),
            str(path),
            ["local"],
            [scenario],
            repeats=given.sessions,
            scale=2,
            threads=given.threads,
        )
    base, new = sides.base, sides.new
    rows, counts = [], {}
    for title, pairs in pairings(base, new).items():
        cells = []
        for slowdown in SLOWDOWNS:
            said = Counter(
                judge(b, [slowed(m, slowdown) for m in n], Limits(LIMIT), same_names=False).verdict
                for b, n in pairs
            )
            counts[f"{title}, {slowdown:+.0%}"] = dict(said)
            cells.append(" / ".join(str(said[word]) for word in ("pass", "noisy", "fail")))
        rows.append([title, *cells])
    medians = [m.p50_ms for m in (*base, *new) if m.p50_ms]
    loads = [m.before.load_1min for m in base if m.before.load_1min is not None]
    text = (
        f"The shipped network as ONNX against itself, 96x72, {given.threads} thread(s), "
        f"{given.seconds:g} s each in turns of 0.2 s, {given.sessions} sessions, each in fresh "
        f"processes; limit {LIMIT:.0%}. Medians of single runs went from {min(medians):.2f} to "
        f"{max(medians):.2f} ms (standard deviation {np.std(medians) / np.mean(medians):.1%}); "
        f"load before a session {min(loads):.1f} to {max(loads):.1f}, its own included. "
        "Cells: pass / too noisy to tell / fail.\n\n"
        + table(["compared", *(f"slowed by {s:.0%}" for s in SLOWDOWNS)], rows)
    )
    data = {"counts": counts, "base_ms": samples(base), "new_ms": samples(new)}
    name = f"compare-noise-{given.label}-onnxruntime-cpu-{given.threads}thread"
    write(name, "How often a comparison is right", text, data, own_command(), given.out)
    return 0


def pairings(
    base: list[Measurement], new: list[Measurement]
) -> dict[str, list[tuple[list[Measurement], list[Measurement]]]]:
    """What is compared with what."""
    count = len(base)
    several = [slice(i, i + 5) for i in range(0, count - count % 5, 5)]
    later = [slice(i, i + 5) for i in range(count - count % 5, 0, -5)]
    half = count // 2
    return {
        "in turns, one session": [([base[i]], [new[i]]) for i in range(count)],
        "in turns, five sessions": [(base[part], new[part]) for part in several],
        "apart, one run each": [([base[i]], [new[(i + half) % count]]) for i in range(count)],
        "apart, five runs each": [
            (base[a], new[max(b.start - 5, 0) : b.start])
            for a, b in zip(several, later, strict=True)
            if a.start != max(b.start - 5, 0)
        ],
    }


def slowed(one: Measurement, slowdown: float) -> Measurement:
    times = [sample * (1 + slowdown) for sample in one.samples_ms]
    return one.model_copy(update={"samples_ms": times})


def samples(side: list[Measurement]) -> list[dict[str, Any]]:
    return [{"samples": one.samples_ms, "turns": one.turns} for one in side]


if __name__ == "__main__":
    if "loaded" not in sys.argv:  # there the load is what is looked at
        quiet()
    sys.exit(main())
