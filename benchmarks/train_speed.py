"""Speed of the training loop's step against an eager float32 NCHW loop, side by side.

    python benchmarks/train_speed.py [--arch edsr-baseline] [--seconds 50] [--threads N]

Both train the same network on the same batches (patch 48, batch 16 unless told otherwise) with Adam
on the L1 loss. "Plain" is what one writes first: float32, NCHW, an unfused optimiser, batches made
and copied between steps. "Ours" is a step of srdeploy's loop with its loader: bfloat16 where the
machine computes in it, channels-last, fused optimiser, background batches. They take turns, so that
whatever else the machine does falls on both; medians and quartiles are of the turns.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import torch
from results_io import quiet, table, write
from torch.nn import functional

from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.train.defaults import fast_precision
from srdeploy.train.loader import Loader
from srdeploy.train.patches import FolderPatches, PatchBatch
from srdeploy.train.precision import exact_float32, mixed
from srdeploy.train.recipe import TrainRecipe
from srdeploy.train.run import Run

Turn = Callable[[int], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="edsr-baseline")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=50.0, help="of measuring")
    parser.add_argument("--steps", type=int, help="per turn; default 1 on a CPU, 20 on a GPU")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--compile", action="store_true", help="torch.compile in ours")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    on_gpu = torch.cuda.is_available()
    steps = options.steps or (20 if on_gpu else 1)
    network = create(options.arch, scale=options.scale)
    settings: dict[str, Any] = {
        "data": {"folders": ["builtin"]},
        "scales": [options.scale],
        "patch": options.patch,
        "batch": options.batch,
        "iterations": 10**9,
        "compile": options.compile,
    }
    ours = TrainRecipe.model_validate(settings | {"precision": fast_precision()})
    plain = TrainRecipe.model_validate(settings | {"channels_last": False, "workers": 0})
    run = Run(network, ours, [])
    with mixed(run.module, ours.precision, run.device):
        turns = {"plain": _plain(network, plain, run.device), "ours": _ours(run, ours)}
        seconds = _take_turns(turns, steps, options.seconds)
    rates = {name: sorted(steps / s for s in times) for name, times in seconds.items()}
    ratios = [p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True)]
    device = torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads"
    labels = {
        "plain": "eager float32 NCHW loop",
        "ours": f"srdeploy, {ours.precision} channels-last{', compiled' * options.compile}",
    }
    rows = [[labels[n], *_spread(rates[n]), f"{_median(rates[n]) * options.batch:.1f}"]
            for n in rates]  # fmt: skip
    low, middle, high = _spread(sorted(ratios))
    load = f" Load of the machine at the start: {_LOAD:.1f} (1 minute)." if _LOAD else ""
    text = (
        f"{options.arch} x{options.scale}, patch {options.patch}, batch {options.batch}; {device}; "
        f"{len(ratios)} turns of {steps} step{'s' * (steps > 1)} each, interleaved.{load}\n\n"
        + table(["loop", "steps/s, lower quartile", "median", "upper quartile", "images/s"], rows)
        + f"\n\nOurs is {middle} times as fast (quartiles of the turns: {low} to {high})."
    )
    where = "gpu" if on_gpu else "cpu"
    name = f"train-speed-{options.arch}-x{options.scale}-p{options.patch}b{options.batch}-{where}"
    name += f"-{ours.precision}" + "-compiled" * options.compile
    repeat = shlex.join(["python", "benchmarks/train_speed.py", *sys.argv[1:]])
    write(name, "Steps per second of training", text,
          {"seconds_per_turn": seconds, "steps_per_turn": steps, "device": device, "load": _LOAD},
          repeat)  # fmt: skip


def _take_turns(turns: dict[str, Turn], steps: int, limit: float) -> dict[str, list[float]]:
    """Seconds of each turn; the first round warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn(steps)
    started = time.perf_counter()
    while time.perf_counter() - started < limit or len(seconds["ours"]) < 3:
        for name, turn in turns.items():
            _synchronise()
            before = time.perf_counter()
            turn(steps)
            _synchronise()
            seconds[name].append(time.perf_counter() - before)
    return seconds


def _ours(run: Run, recipe: TrainRecipe) -> Turn:
    source = FolderPatches(run.network.card, recipe)
    batches = _batches(source, recipe, pin=run.device.type == "cuda")

    def turn(steps: int) -> None:
        with exact_float32():
            for _ in range(steps):
                run.advance(next(batches))

    return turn


def _plain(network: Network, recipe: TrainRecipe, device: torch.device) -> Turn:
    module = network.copy().module.train().to(device)
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, 1e-4, foreach=False, fused=False)
    source = FolderPatches(network.card, recipe)
    iterations = cycle(range(1000))

    def turn(steps: int) -> None:
        for _ in range(steps):
            batch = source.batch(next(iterations))
            inputs = (batch.inputs.float() * batch.gain).to(device)
            targets = (batch.targets.float() * batch.gain).to(device)
            loss = functional.l1_loss(module(inputs), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            loss.item()  # what a plain loop prints or sums

    return turn


def _batches(source: FolderPatches, recipe: TrainRecipe, pin: bool) -> Iterator[PatchBatch]:
    return iter(Loader(source, 0, recipe.iterations, recipe.workers, pin))


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _spread(values: list[float]) -> list[str]:
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    return [f"{value:.3g}" for value in quartiles]


_LOAD = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0

if __name__ == "__main__":
    quiet()
    main()
