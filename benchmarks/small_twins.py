"""Run every small twin of a published recipe to its end, as its header says, and time it.

    python benchmarks/small_twins.py [--run-dir DIR]

Resumes; a finished twin is measured, not repeated (its minutes are in its journal).
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

from results_io import quiet, srdeploy, table, write

from srdeploy.util.files import atomic_path

RECIPES = Path(__file__).parents[1] / "configs" / "recipes"
# The network each begins with: a shipped one, one that a twin before it trained, or none.
TWINS = {
    "srpn-lite-small": "edsr-s-x2",
    "assln-small": "edsr-s-x2",
    "edsr-baseline-small": "edsr-s-x2",
    "rirsr-small": None,
    "srpn-small": "rirsr-small",
    "vdsr-small": None,
    "vdsr-pruned-small": "vdsr-small",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=Path("runs") / "twins")
    runs = parser.parse_args().run_dir
    done = {name: finish(name, start, runs) for name, start in TWINS.items()}
    rows = [
        [name, start or "random weights", *done[name]["shown"]] for name, start in TWINS.items()
    ]
    text = (
        "Each twin is run by the command in its header. PSNR on the four shipped benchmark images; "
        "for a pruning, before it, right after removal, and in the end. Processor minutes are "
        "what one undisturbed core would have taken.\n\n"
        + table(["recipe", "from", "PSNR-Y dB", "MACs 720p", "minutes", "processor minutes"], rows)
    )
    write("small-twins-builtin", "The small twins of the published recipes", text, done,
          "python benchmarks/small_twins.py")  # fmt: skip


def finish(name: str, start: str | None, runs: Path) -> dict[str, Any]:
    """Run one twin unless it is finished; return its figures."""
    record = runs / f"{name}.json"
    if record.exists():
        return json.loads(record.read_text())
    recipe, made = str(RECIPES / f"{name}.yaml"), runs / f"{name}.safetensors"
    there = ("--run-dir", str(runs / name), "-o", str(made))
    wall, cpu = time.perf_counter(), processor_seconds()
    if start is None:
        srdeploy("train", recipe, *there)
        stages: dict[str, Any] = {}
    else:
        before = runs / f"{start}.safetensors"
        weights = str(before) if before.exists() else start
        stages = srdeploy("prune", weights, "--recipe", recipe, *there)["quality"]
    minutes = [(time.perf_counter() - wall) / 60, (processor_seconds() - cpu) / 60]
    final = srdeploy("eval", str(made), "--data", "builtin")["psnr_y"]
    size = srdeploy("inspect", str(made))["macs_720p"]
    course = [stages[s]["psnr_y"] for s in ("dense", "compact") if s in stages] + [final]
    shown = [" -> ".join(f"{p:.2f}" for p in course), f"{size / 1e9:.1f}G",
             *(f"{m:.1f}" for m in minutes)]  # fmt: skip
    result = {"psnr_y": final, "stages": stages, "minutes": minutes, "shown": shown}
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(result))
    return result


def processor_seconds() -> float:
    """Seconds of processor time that finished child processes have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    quiet()
    main()
