"""The pruning study: every method on one network, with equal numbers of optimiser steps.

    python benchmarks/study.py --data ~/sr-data            # runs what is missing, then reports
    python benchmarks/study.py --data ~/sr-data --report   # reports what there is
    python benchmarks/study.py --data ~/sr-data --controls # what varies one ingredient at a time

One cell is a method at a ratio with a seed. Cells are independent: each has its own folder and
leaves one ``result.json``; a finished cell is never run again, an interrupted one goes on from its
checkpoint. The settings are in ``configs/study.yaml``; changing a method's runs its cells anew.
Where they name several learning rates, the first seed runs with each, and each method keeps, at
each ratio, the one with the best PSNR on images that are neither trained on nor reported.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from srdeploy.errors import SrdeployError, UserError, unknown_name
from srdeploy.models.network import Network
from srdeploy.util.files import atomic_path
from srdeploy.util.strict import Strict, expand, merged, read_yaml

ROOT = Path(__file__).parents[1]


class StudyMethod(Strict):
    """One way from the dense network to a small one.

    ``kind``: ``scratch`` trains the small shape from random weights, ``oneshot`` prunes once by L1
    and recovers, ``reconstruct`` likewise by what the network computes on the images of
    ``calibration``, ``trained`` is a method of ``srdeploy prune`` that trains (on those images it
    chooses, if its common set is ``obs`` or ``reconstruct``). The sections are
    those of a pruning recipe; ``finetune.iterations`` is what the regularised stage, or the
    ``network_wise`` steps of a reconstruction, leave of the common budget.
    """

    kind: Literal["scratch", "oneshot", "reconstruct", "trained"] = "trained"
    calibration: str | None = None
    network_wise: int = Field(0, ge=0)
    prune: dict[str, Any] = {}
    regularise: dict[str, Any] = {}
    finetune: dict[str, Any] = {}


class Controls(Strict):
    """Further methods, to find out why: the study's settings otherwise, no part of its tables."""

    ratios: tuple[float, ...]
    seeds: tuple[int, ...]
    methods: dict[str, StudyMethod] = Field(min_length=1)


class Search(Strict):
    """Each method's own learning rate of the recovery, for each ratio: the same few are tried.

    Attributes:
        rates: What is tried with the first seed.
        images: A folder of images that decide.
        every: Of these, each so many-th.
    """

    rates: tuple[float, ...] = Field(min_length=2)
    images: str
    every: PositiveInt = 1


class Study(Strict):
    """The settings of a study; the order of seeds and ratios is the order of work.

    ``against`` names methods: the report compares the others with the best of them.
    """

    network: str
    steps: PositiveInt
    ratios: tuple[float, ...]
    seeds: tuple[int, ...]
    benchmarks: dict[str, str]
    watch: str
    training: dict[str, Any]
    regularise: dict[str, Any] = {}
    finetune: dict[str, Any] = {}
    search: Search | None = None
    against: tuple[str, ...] = ()
    methods: dict[str, StudyMethod] = Field(min_length=1)
    controls: Controls | None = None


def controls_of(study: Study) -> Study:
    """The study's control runs, as a study of their own.

    Raises:
        UserError: it has none.
    """
    if study.controls is None:
        raise UserError("This study has no controls; leave --controls out.")
    return study.model_copy(update=dict(study.controls))


def only(study: Study, names: list[str]) -> Study:
    """The study of some of its methods.

    Raises:
        UserError: one of them is not in it.
    """
    for name in names:
        if name not in study.methods:
            raise unknown_name("method", name, study.methods)
    return study.model_copy(update={"methods": {n: study.methods[n] for n in names}})


@dataclass(frozen=True)
class Cell:
    """A method at a ratio with a seed; with a learning rate where one is searched for."""

    method: str
    ratio: float
    seed: int
    rate: float | None = None

    @property
    def folder(self) -> str:
        rate = "" if self.rate is None else f"-{self.rate:g}"
        return f"{self.method}/{self.ratio:g}/{self.seed}{rate}"


Rates = dict[tuple[str, float], float]
"""The rate that a method has at a ratio."""


def cells_of(study: Study, rates: Rates | None = None) -> list[Cell]:
    """The cells to report; where rates are searched for, of these ``rates``."""
    kept = rates or {}
    return [
        Cell(m, r, s, kept.get((m, r)))
        for s in study.seeds
        for r in study.ratios
        for m in study.methods
    ]


def searched(study: Study) -> list[Cell]:
    """The cells that decide about rates."""
    if study.search is None:
        return []
    return [
        Cell(method, ratio, study.seeds[0], rate)
        for ratio in study.ratios
        for method in study.methods
        for rate in study.search.rates
    ]


def best_rates(results: list[dict[str, Any]]) -> Rates:
    """What each method does best with on the validation images, by the searched cells' results."""
    best: dict[tuple[str, float], dict[str, Any]] = {}
    for result in results:
        key = result["method"], result["ratio"]
        if key not in best or result["validation"] > best[key]["validation"]:
            best[key] = result
    return {key: result["rate"] for key, result in best.items()}


def digest_of(study: Study, cell: Cell, network: str) -> str:
    """What decides a cell's result: its method's settings and the common ones."""
    common = {"methods", "ratios", "seeds", "controls", "search", "against"}
    settings = study.model_dump(mode="json", exclude=common)
    method = study.methods[cell.method].model_dump(mode="json", exclude_none=True)
    settings |= {"method": method, "network": network}
    settings |= {"ratio": cell.ratio, "seed": cell.seed}
    if cell.rate is not None and study.search is not None:
        settings |= {"rate": cell.rate, **study.search.model_dump(exclude={"rates"})}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def recipe_of(study: Study, cell: Cell, exclude: tuple[str, ...]) -> Any:
    """The pruning recipe of a cell, its stages adding up to the study's steps."""
    from srdeploy.train.method import PruneRecipe

    method = study.methods[cell.method]
    options = {"method": "srp", "ratio": cell.ratio, "exclude": exclude, "seed": cell.seed}
    training = {"seed": cell.seed, "threads": 1} | study.training
    finetune = merged(study.finetune, method.finetune)
    if cell.rate is not None:
        finetune = merged(finetune, {"optimiser": {"lr": cell.rate}})
    values = {
        "prune": options | method.prune,
        "training": training,
        "regularise": merged(study.regularise, method.regularise),
        "finetune": finetune | {"iterations": 0},
    }
    if method.kind == "trained" and method.calibration:
        values["calibration"] = method.calibration
    recipe = PruneRecipe.model_validate(values)
    spent = regularised_steps(recipe.prune) if method.kind == "trained" else method.network_wise
    if spent >= study.steps:
        raise UserError(f"'{cell.method}' takes {spent} of {study.steps} steps before recovery.")
    left = finetune | {"iterations": study.steps - spent}
    return recipe.model_copy(update={"finetune": left})


def regularised_steps(options: Any) -> int:
    """Optimiser steps before removal (every network here has coupled layers)."""
    start = 0 if options.method == "srp" else options.alignment.iterations
    search = options.search.ramp().total if options.method == "gassl" else 0
    return options.penalty.ramp(start).total + search


def run_cell(study: Study, cell: Cell, network_path: str, folder: Path) -> dict[str, Any]:
    """Run one cell to its end and return its result."""
    from srdeploy.data.benchmark import open_benchmark
    from srdeploy.models.load import load_network
    from srdeploy.pruning.methods.oneshot import default_exclude
    from srdeploy.quality.evaluate import evaluate
    from srdeploy.train.journal import read_metrics
    from srdeploy.train.method import prune_trained

    started = time.perf_counter()
    network = load_network(network_path)
    recipe = recipe_of(study, cell, default_exclude(network))
    watched = expand(study.benchmarks[study.watch])

    def measure(stage: str, version: Network) -> dict[str, Any]:
        if stage == "tuned":
            return {}
        return figures(evaluate(version, watched, version.card.scale, progress=False))

    kind = study.methods[cell.method].kind
    if kind == "trained":
        small, report = prune_trained(network, recipe, folder, measure=measure)
        macs, params, quality = report.after.macs_720p, report.after.params, report.quality
    else:
        method = study.methods[cell.method]
        small, macs, params, quality = untrained(network, recipe, folder, method, measure)
    final = {
        name: figures(evaluate(small, expand(path), small.card.scale, progress=False))
        for name, path in study.benchmarks.items()
    }
    held_out = {}
    if study.search is not None:
        pairs = open_benchmark(expand(study.search.images), small.card.scale)[:: study.search.every]
        quality_there = evaluate(small, pairs, small.card.scale, progress=False)
        held_out = {"rate": cell.rate, "validation": quality_there.psnr_y}
    curve, offset = [], 0
    for stage in ("search", "regularise", "finetune"):
        entries = [e for e in read_metrics(folder / stage) if "psnr_y" in e]
        curve += [[stage, offset + e["iteration"], e["psnr_y"]] for e in entries]
        offset += entries[-1]["iteration"] if entries else 0
    return {
        "method": cell.method,
        "ratio": cell.ratio,
        "seed": cell.seed,
        **held_out,
        "steps": study.steps,
        "params": params,
        "macs_720p": macs,
        "widths": sorted(set(small.card.widths.values())),
        "stages": quality,
        "final": final,
        "curve": curve,
        "seconds": round(time.perf_counter() - started, 1),
    }


def untrained(
    network: Network, recipe: Any, folder: Path, method: StudyMethod, measure: Any
) -> Any:
    """Pruning at once with recovery, or the same shape from random weights."""
    import torch

    from srdeploy.data.builtin import BUILTIN
    from srdeploy.models.store import build
    from srdeploy.pruning.methods.table import METHODS
    from srdeploy.pruning.options import PruneOptions
    from srdeploy.reconstruct.calibration import Calibration
    from srdeploy.reconstruct.run import prune_at_once
    from srdeploy.train.loop import train

    options = recipe.prune
    plain = PruneOptions(ratio=options.ratio, exclude=options.exclude, seed=options.seed)
    row = METHODS["reconstruct" if method.kind == "reconstruct" else "l1"]
    images = Calibration(method.calibration or BUILTIN, network_wise=method.network_wise)
    small, report = prune_at_once(network, row, plain, images, measure)
    if method.kind == "scratch":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            small = build(small.card)
    settings = recipe.finetune_recipe(network.card)
    small = train(small, settings, folder / "finetune", step="finetune", teacher=network)
    quality = report.quality if method.kind != "scratch" else {}
    return small, report.after.macs_720p, report.after.params, quality


def figures(quality: Any) -> dict[str, Any]:
    return {"psnr_y": quality.psnr_y, "ssim_y": quality.ssim_y, "protocol": quality.protocol}


def work(study: Study, cell: Cell, network_path: str, root: Path, digest: str) -> str | None:
    """In a worker process: run a cell, write its result; returns what went wrong."""
    from srdeploy.train.interrupt import TrainingStopped

    folder = root / cell.folder
    try:
        begin(folder, digest)
        result = run_cell(study, cell, network_path, folder)
        with atomic_path(folder / "result.json") as temporary:
            temporary.write_text(json.dumps({"digest": digest, **result}, indent=2))
    except TrainingStopped:
        os._exit(130)  # else this process would take up the next cell
    except SrdeployError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()
    return None


def begin(folder: Path, digest: str) -> None:
    """Keep what an interrupted run of these settings left, drop what others did."""
    mark = folder / "settings"
    if folder.exists() and (not mark.exists() or mark.read_text() != digest):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(digest)


def finished(root: Path, cell: Cell, digest: str) -> dict[str, Any] | None:
    """The result of a cell, if it was made with these settings."""
    try:
        result = json.loads((root / cell.folder / "result.json").read_text())
    except (OSError, json.JSONDecodeError):
        return None
    return result if result.get("digest") == digest else None


def run_study(study: Study, root: Path, network_path: str, processes: int) -> bool:
    """Run what is missing, the cells that decide about rates first; True if nothing is left."""
    deciding = searched(study)
    if not run_missing(study, deciding, root, network_path, processes):
        return False
    rates = best_rates(results_of(study, deciding, root, network_path))
    return run_missing(study, cells_of(study, rates), root, network_path, processes)


def results_of(
    study: Study, cells: list[Cell], root: Path, network_path: str
) -> list[dict[str, Any]]:
    """The results there are."""
    weights = network_digest(network_path)
    found = (finished(root, cell, digest_of(study, cell, weights)) for cell in cells)
    return [result for result in found if result is not None]


def run_missing(
    study: Study, cells: list[Cell], root: Path, network_path: str, processes: int
) -> bool:
    """Run the cells that have no result; True if all have one afterwards."""
    weights = network_digest(network_path)
    digests = {cell: digest_of(study, cell, weights) for cell in cells}
    missing = [cell for cell, digest in digests.items() if not finished(root, cell, digest)]
    print(f"{len(digests) - len(missing)} of {len(digests)} cells are done", file=sys.stderr)
    if not missing:
        return True
    started, done, failed = time.perf_counter(), 0, 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        running = {
            pool.submit(work, study, cell, network_path, root, digests[cell]): cell
            for cell in missing
        }
        try:
            for future in as_completed(running):
                cell, problem = running[future], future.result()
                done, failed = done + 1, failed + (problem is not None)
                left = (time.perf_counter() - started) / done * (len(missing) - done) / 60
                said = f"failed: {problem}" if problem else "done"
                print(
                    f"[{done}/{len(missing)}] {cell.folder} {said}; {left:.0f} min left",
                    file=sys.stderr,
                    flush=True,
                )
        except KeyboardInterrupt:
            for child in multiprocessing.active_children():
                child.terminate()  # which saves its state first
            pool.shutdown(cancel_futures=True)
            raise UserError("Stopped; repeat the command to go on from there.") from None
    return failed == 0


def network_digest(path: str) -> str:
    from srdeploy.models.load import load_network
    from srdeploy.train.checkpoint import weights_digest

    return weights_digest(load_network(path).module)[:16]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "study.yaml")
    parser.add_argument("--data", help="folder that the config calls $SRDEPLOY_DATA")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/study"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--network", help="instead of the config's")
    parser.add_argument("--processes", type=int, default=2, help="one thread each")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
                        help="replace a setting; repeatable")  # fmt: skip
    parser.add_argument("--methods", nargs="+", help="only these")
    parser.add_argument("--controls", action="store_true", help="run the controls instead")
    parser.add_argument("--name", help="first part of the results' file names (default: study)")
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    if arguments.data:
        os.environ["SRDEPLOY_DATA"] = str(Path(arguments.data).expanduser().resolve())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["OMP_NUM_THREADS"] = "1"  # two threads of a small network wait for each other
    try:
        study = read_yaml(Study, arguments.config, arguments.changes)
        if arguments.controls:
            study = controls_of(study)
        if arguments.methods:
            study = only(study, arguments.methods)
        network = arguments.network or study.network
        root = arguments.run_dir
        complete = arguments.report or run_study(study, root, network, arguments.processes)
        from study_report import write_report

        tried = results_of(study, searched(study), root, network)
        results = results_of(study, cells_of(study, best_rates(tried)), root, network)
        settings = f"`configs/{arguments.config.name}`" + "".join(
            f", `{change}`" for change in arguments.changes
        )
        name = arguments.name or ("study-controls" if arguments.controls else "study")
        write_report(results, study, settings, arguments.out, name, tried)
    except SrdeployError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
