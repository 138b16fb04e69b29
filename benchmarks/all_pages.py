"""All pages that speak of time, measured one after another on a quiet machine, the shortest first.

    python benchmarks/all_pages.py DATA [--only NAME ...] [--hours] [--list]

Before each the load has to fall below the limit. What was measured since midnight is not measured
again, a page that fails is told and the next one begun; the exit code is the number that failed.
``--hours`` adds what trains networks for hours. Output goes to ``runs/pages/NAME.log``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from results_io import QUIET

ROOT = Path(__file__).parents[1]
WORK = ROOT / "runs" / "pages"
DONE = WORK / "done.json"
PATIENCE = 1800  # seconds that a machine may take to become quiet
F64B5 = "DATA/weights/edsr_mlperf/edsr_f64b5_x2_pytorch.pt"


@dataclass(frozen=True)
class Page:
    """One page, or several that one script writes.

    Attributes:
        name: To choose it by.
        minutes: About how long it takes on two quiet cores.
        commands: Run in turn from the project's root; DATA and WORK stand for folders, ``python``
            for the one that runs this.
    """

    name: str
    minutes: float
    commands: tuple[str, ...]


def _int8(name: str, network: str) -> tuple[str, ...]:
    trained = f"WORK/{name}-int8.safetensors"
    return (
        f"python -m srdeploy finetune {network} --recipe configs/train/int8.yaml --fresh "
        f"--run-dir WORK/{name}-int8 -o {trained}",
        f"python benchmarks/int8_study.py --network {network} --name {name} --trained {trained} "
        "--data DATA/benchmark",
    )


def _runtimes(name: str, network: str) -> tuple[str, ...]:
    study = f"python benchmarks/runtimes_study.py {network} --name {name} --work WORK/runtimes"
    return (f"{study} --data DATA/benchmark --stage prepare", f"{study} --stage time")


_NOISE = "python benchmarks/compare_noise.py --sessions 10"
_COST = "python benchmarks/regularisation_cost.py"
_FARM = "python -m benchmarks.farm_chaos"

PAGES = [
    Page("regularisation-cost-bf16", 1, (f"{_COST} --precision bf16 --batch 16 --rounds 12",)),
    Page("regularisation-cost-fp32", 1, (f"{_COST} --rounds 7 --batch 4",)),
    Page("gpu-check", 10, ("python benchmarks/gpu_check.py",)),
    Page("train-speed", 2, ("python benchmarks/train_speed.py --seconds 40",)),
    Page(
        "farm-mixed",
        3,
        (
            "python -m srdeploy.devices.build_runner --arch x86_64",
            "python -m benchmarks.farm_mixed",
        ),
    ),
    Page("compare-noise-quiet", 3, (_NOISE,)),
    Page("latency-pruned", 3, ("python benchmarks/pruned_latency.py DATA",)),
    Page("farm-scaling-4s", 4, (f"{_FARM} --scaling --turn 4 --jobs-each 5",)),
    Page("farm-scaling-10s", 5, (f"{_FARM} --scaling --turn 10",)),
    Page("realesrgan-pruned", 9, ("python benchmarks/realesrgan_pruned.py DATA --times",)),
    Page("smsr-rivals", 11, ("python benchmarks/smsr_rivals.py DATA",)),
    Page(
        "smsr-runner",
        3,
        (
            "python -m srdeploy.devices.build_runner --arch x86_64",
            "python benchmarks/smsr_runner.py DATA",
        ),
    ),
    Page("smsr-browser", 6, ("python benchmarks/smsr_browser.py DATA",)),
    Page("smsr-forms", 6, ("python benchmarks/smsr_speed.py DATA --rounds 15 --seconds 200",)),
    Page(
        "upscale-memory",
        8,
        (
            "python -m srdeploy export edsr-s-x2 -o WORK/edsr-s-x2.onnx",
            "python benchmarks/upscale_memory.py edsr-s-x2 WORK/edsr-s-x2.onnx",
        ),
    ),
    Page(
        "video",
        6,
        (
            "python -m srdeploy export edsr-s-x2 -o WORK/edsr-s-x2.onnx",
            f"python -m benchmarks.video --stage time WORK/edsr-s-x2.onnx {F64B5}",
        ),
    ),
    Page("zoo", 8, ("python benchmarks/make_zoo.py DATA --report",)),
    Page("small-twins", 9, ("python benchmarks/small_twins.py --run-dir WORK/twins",)),
    Page(
        "runtimes",
        12,
        (
            *_runtimes("edsr-s-x2", "edsr-s-x2"),
            *_runtimes("edsr-f64b5-x2", F64B5),
            "python benchmarks/runtimes_study.py --work WORK/runtimes --stage write",
        ),
    ),
    Page("int8-edsr-s", 10, _int8("edsr-s-x2", "edsr-s-x2")),
    Page("latency-prediction", 20, ("python benchmarks/latency_prediction.py DATA",)),
    Page(
        "fit",
        90,
        ("python benchmarks/fit.py DATA", "python benchmarks/fit.py DATA --free"),
    ),
    Page("farm-chaos", 12, (f"{_FARM} --limit 2700",)),
    Page("reconstruct", 60, ("python benchmarks/reconstruct.py DATA --fresh",)),
    Page("int8-edsr-f64b5", 25, _int8("edsr-f64b5-x2", F64B5)),
    Page("fresh-clone", 25, ("python benchmarks/fresh_clone.py",)),
]
HOURS = [
    Page(
        "vdsr-recovery",
        75,
        ("python benchmarks/vdsr_recovery.py DATA --run-dir WORK/vdsr-recover",),
    ),
    Page("shipped", 240, ("python benchmarks/make_zoo.py DATA --run-dir WORK/zoo",)),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with benchmark/, train/ and weights/")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these")
    parser.add_argument("--hours", action="store_true", help="what trains for hours as well")
    parser.add_argument("--list", action="store_true", help="say what would be done")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE, help="seconds to wait for quiet"
    )
    asked = parser.parse_args()
    chosen = pages(asked.only, asked.hours)
    done = {} if not DONE.exists() else json.loads(DONE.read_text())
    today = date.today().isoformat()
    failed = []
    for page in sorted(chosen, key=lambda page: page.minutes):
        if done.get(page.name) == today:
            print(f"{page.name}: measured today")
            continue
        commands = [filled(command, asked.data) for command in page.commands]
        print(
            f"{page.name}: about {page.minutes:g} minutes", *map(shlex.join, commands), sep="\n  "
        )
        if asked.list:
            continue
        if not wait_for_quiet(asked.patience):
            sys.exit(f"The machine did not become quiet in {asked.patience / 60:.0f} minutes.")
        if run(page.name, commands, asked.data):
            done[page.name] = today
            DONE.write_text(json.dumps(done, indent=1))
        else:
            failed.append(page.name)
            print(f"{page.name} FAILED: {WORK / page.name}.log", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed)


def pages(only: list[str] | None, hours: bool) -> list[Page]:
    """The pages asked for; a misspelt name is told."""
    every = {page.name: page for page in (*PAGES, *HOURS)}
    if unknown := [name for name in only or () if name not in every]:
        raise SystemExit(f"There is no page {unknown[0]!r}: {', '.join(every)}.")
    return [every[name] for name in only] if only else [*PAGES, *(HOURS if hours else [])]


def filled(command: str, data: Path) -> list[str]:
    """A command's words with the folders filled in."""
    places = {"DATA": str(data.resolve()), "WORK": str(WORK)}

    def place(word: str) -> str:
        head, slash, rest = word.partition("/")
        return places.get(head, head) + slash + rest

    words = [place(word) for word in shlex.split(command)]
    return [sys.executable if word == "python" else word for word in words]


def wait_for_quiet(patience: float) -> bool:
    """Whether the load fell below the limit in time."""
    ends = time.monotonic() + patience
    while os.getloadavg()[0] >= QUIET * 0.9:  # the command's own start comes on top
        if time.monotonic() > ends:
            return False
        time.sleep(5)
    return True


def run(name: str, commands: list[list[str]], data: Path) -> bool:
    """Run a page's commands, output to its log; whether all went well."""
    WORK.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "SRDEPLOY_DATA": str(data.resolve()),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    with (WORK / f"{name}.log").open("w") as log:
        for command in commands:
            wait_for_quiet(PATIENCE)  # a page's own preparation is no measurement
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            if done.returncode:
                return False
    return True


if __name__ == "__main__":
    sys.exit(main())
