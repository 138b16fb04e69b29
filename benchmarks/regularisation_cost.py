"""What a growing penalty costs: a training step with and without it, measured side by side.

    python benchmarks/regularisation_cost.py --rounds 10 --threads 1

Steps of the plain run and of the regularised ones take turns, so that whatever else the machine
does falls on all of them alike; the figure is the ratio of median step times. A second figure
relates the time spent in the penalty itself to the plain step: it is less noisy than a difference
of large numbers.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from results_io import RESULTS, own_command, quiet, table, write

from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.pruning.methods.assl import ASSLPruner
from srdeploy.pruning.methods.srp import SRPPruner
from srdeploy.pruning.methods.training import TrainedOptions, check_fit
from srdeploy.pruning.tracing.groups import find_groups
from srdeploy.train.evaluator import LoopEvaluator, _Tasks
from srdeploy.train.patches import PatchBatch
from srdeploy.train.recipe import TrainRecipe
from srdeploy.train.run import Run


class Contestant:
    """A training run, with a pruner or without."""

    def __init__(self, method: str | None, network: Network, recipe: TrainRecipe) -> None:
        self.own: list[float] = []
        hooks = []
        if method is not None:
            hooks = [self._pruner(method, network, recipe)]
        self.run = Run(network, recipe, hooks, in_place=True)

    def _pruner(self, method: str, network: Network, recipe: TrainRecipe) -> Any:
        values = {"method": method, "ratio": 0.5, "exclude": ("tail.*",)}
        options = TrainedOptions.model_validate(values)
        grouping = find_groups(network)
        evaluator = LoopEvaluator(network.card, recipe, Path("unused"))
        kind = SRPPruner if method == "srp" else ASSLPruner
        pruner = kind(network.module, grouping, check_fit(grouping, options), options, evaluator)
        evaluator.bind_model(network.module)
        pruner._fuse_preprocess(evaluator)
        tasks = _Tasks(evaluator)
        for name in ("adjust_loss", "before_step", "after_step"):
            setattr(tasks, name, self._timed(getattr(tasks, name)))
        return tasks

    def _timed(self, call: Any) -> Any:
        def timed(*arguments: Any) -> Any:
            synchronise()
            started = time.perf_counter()
            result = call(*arguments)
            synchronise()
            self.own[-1] += time.perf_counter() - started
            return result

        return timed

    def step(self, batch: PatchBatch) -> float:
        self.own.append(0.0)
        synchronise()
        started = time.perf_counter()
        self.run.advance(batch)
        synchronise()
        return time.perf_counter() - started


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arch", default="edsr-baseline")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--out", type=Path, help="folder; default: benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = TrainRecipe.model_validate(
        {
            "data": {"folders": ["builtin"]},
            "scales": [2],
            "patch": given.patch,
            "batch": given.batch,
            "iterations": 1,
            "precision": given.precision,
        }
    )
    contestants = {
        name: Contestant(None if name == "plain" else name, create(given.arch), recipe)
        for name in ("plain", "srp", "assl")
    }
    size = (given.batch, given.patch, given.patch, 3)
    small = torch.randint(0, 256, size, dtype=torch.uint8)
    large = small.repeat_interleave(2, 1).repeat_interleave(2, 2)
    batch = PatchBatch(small.permute(0, 3, 1, 2), large.permute(0, 3, 1, 2), 1.0)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for round_number in range(given.rounds + 2):
        for name, contestant in contestants.items():
            seconds = contestant.step(batch)
            if round_number >= 2:
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "arch": given.arch,
        "batch": given.batch,
        "patch": given.patch,
        "precision": given.precision,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": given.threads,
        "rounds": given.rounds,
        "step_ms": {name: round(1e3 * value, 2) for name, value in medians.items()},
        "ratio": {name: round(medians[name] / medians["plain"], 4) for name in ("srp", "assl")},
        "own_time_ratio": {
            name: round(statistics.median(contestants[name].own[2:]) / medians["plain"], 4)
            for name in ("srp", "assl")
        },
        "samples_ms": {n: [round(1e3 * v, 2) for v in values] for n, values in times.items()},
    }
    cores = f"{given.threads}thread{'s' if given.threads != 1 else ''}"
    where = "gpu" if torch.cuda.is_available() else f"cpu-{cores}"
    name = f"regularisation-cost-{given.arch}-{given.precision}-batch{given.batch}-{where}"
    write(
        name,
        "What a growing penalty costs",
        story(result),
        result,
        own_command(),
        given.out or RESULTS,
    )
    return 0


def story(result: dict[str, Any]) -> str:
    """The page's text."""
    step, ratio, own = (result[key] for key in ("step_ms", "ratio", "own_time_ratio"))
    rows = [
        (name, step[name], ratio.get(name, ""), f"{own[name]:.2%}" if name in own else "")
        for name in step
    ]
    return (
        f"{result['arch']} x2, {result['precision']}, batch {result['batch']}, patch "
        f"{result['patch']}, {result['device']}, {result['threads']} threads, {result['rounds']} "
        "rounds in turns; medians.\n\n"
        + table(["step", "ms", "times the plain step", "the penalty's own time"], rows)
    )


if __name__ == "__main__":
    quiet()
    sys.exit(main())
