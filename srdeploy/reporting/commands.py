"""The commands that repeat what a report page shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from srdeploy.benchmarking.measuring.row import Row
from srdeploy.reporting.run_folder import RECIPE, RunFolder
from srdeploy.reporting.sources import Evidence
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.shipped import shipped_scenarios


def commands_of(evidence: Evidence, report: str) -> list[str]:
    """What to type to get these figures again; the last command is ``report``."""
    lines = [_run(run) for run in evidence.runs]
    roots = {run.root for run in evidence.runs}
    asked: dict[str, list[str]] = {}
    for entry in evidence.entries:
        if entry.folder not in roots:
            names = asked.setdefault(_options(entry.row), [])
            if entry.row.artifact not in names:
                names.append(entry.row.artifact)
    lines += [
        f"srdeploy bench {' '.join(shlex.quote(name) for name in names)}{options}"
        for options, names in asked.items()
    ]
    return [*lines, report]


def _run(run: RunFolder) -> str:
    root = shlex.quote(str(run.root))
    return f"srdeploy run {root}/{RECIPE} --run-dir {root}"


def _options(row: Row) -> str:
    scenario = row.scenario
    options = [f"--scale {row.scale}"]
    if row.device != "local":
        options.append(f"--device {shlex.quote(row.device)}")
    if scenario.get("name") in shipped_scenarios():
        options.append(f"--scenario {scenario['name']}")
    elif sizes := [size for size in scenario.get("inputs", ()) if size != "median"]:
        options.append(f"--input {sizes[0][1]}x{sizes[0][0]}")
    if row.data:
        options.append(f"--eval-data {shlex.quote(row.data)}")
    if row.runtime in RUNTIMES and row.runtime != _default(row) and row.device == "local":
        options.append(f"--runtime {row.runtime}")
    if row.threads is not None:
        options.append(f"--threads {row.threads}")
    return "".join(f" {option}" for option in options)


def _default(row: Row) -> str | None:
    """The runtime that needs not be asked for."""
    return "onnxruntime" if row.artifact.endswith(".onnx") else row.runtime


def own_command(
    sources: Sequence[str | Path | Row], output: Path, baseline: Sequence[str | Path]
) -> str:
    """What to type to get the page itself again."""
    files = [str(source) for source in sources if not isinstance(source, Row)]
    words = ["srdeploy", "report", *(files or ["RESULTS"]), "-o", str(output)]
    for one in baseline:
        words += ["--baseline", str(one)]
    return shlex.join(words)
