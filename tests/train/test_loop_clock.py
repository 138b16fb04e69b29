"""What the loop tells of a run and when it saves, on a clock that the test turns."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from srdeploy.models.network import Network
from srdeploy.train import loop
from srdeploy.train.hooks import Forward, StepHook
from srdeploy.train.interrupt import TrainingStopped
from srdeploy.train.journal import read_metrics
from srdeploy.train.loop import train
from srdeploy.train.recipe import TrainRecipe

Make = Callable[..., TrainRecipe]


class Clock(StepHook):
    """Every iteration takes two seconds, measuring a network takes 100; its loss is its number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: int = -1) -> None:
        self.now, self.stop = 1000.0, stop
        self.iteration, self.saved = 0, list[int]()
        monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: self.now))
        measure = loop.evaluate

        def slow(*args: Any, **options: Any) -> Any:
            self.now += 100
            return measure(*args, **options)

        monkeypatch.setattr(loop, "evaluate", slow)

    def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
        return loss * 0 + iteration

    def after_step(self, module: nn.Module, iteration: int) -> None:
        self.now += 2
        self.iteration = iteration + 1
        if iteration == self.stop:
            os.kill(os.getpid(), signal.SIGTERM)

    def report(self, module: nn.Module, iteration: int) -> dict[str, float]:
        return {"own": 10.0 * iteration}

    def state_dict(self) -> dict[str, Any]:
        self.saved.append(self.iteration)
        return {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_what_is_told_while_it_runs(
    tiny: Network, recipe: Make, tmp_path: Path, photographs: Path, clock: Clock
) -> None:
    settings = recipe(
        iterations=12, log_every=5, batch=4, schedule={"kind": "constant", "warmup": 10},
        validation={"data": str(photographs), "every": 4},
    )  # fmt: skip
    train(tiny, settings, tmp_path, hooks=[clock])
    entries = read_metrics(tmp_path)
    told = [entry for entry in entries if "loss" in entry]
    assert [entry["iteration"] for entry in told] == [5, 10, 12]
    assert [entry["loss"] for entry in told] == [2.0, 7.0, 10.5]  # means since the last
    assert [entry["lr"] for entry in told] == pytest.approx([5e-4, 1e-3, 1e-3])
    assert [entry["images_per_s"] for entry in told] == [2.0] * 3
    assert [entry["seconds"] for entry in told] == [10.0, 20.0, 24.0]  # measuring left out
    assert [entry["own"] for entry in told] == [40.0, 90.0, 110.0]
    assert all(0 <= entry["loader_wait"] < 0.1 for entry in told)
    measured = [entry for entry in entries if "psnr_y" in entry]
    assert [entry["iteration"] for entry in measured] == [4, 8, 12]
    assert not any("per_image" in entry for entry in measured)


@pytest.mark.parametrize(
    ("every", "saved"),
    [
        ({"minutes": 0.1}, [3, 6, 9, 10]),
        ({"minutes": 0.12}, [4, 8, 10]),  # at the first that is late enough
        ({"minutes": None, "iterations": 4}, [4, 8, 10]),
        ({"minutes": 0.1, "iterations": 4}, [3, 4, 7, 8, 10]),
        ({"minutes": None}, [10]),
        ({}, [10]),
    ],
)
def test_when_it_saves(
    tiny: Network, recipe: Make, tmp_path: Path, clock: Clock, every: dict[str, Any],
    saved: list[int],
) -> None:  # fmt: skip
    train(tiny, recipe(iterations=10, checkpoint=every), tmp_path, hooks=[clock])
    assert clock.saved == saved


@pytest.mark.parametrize(("resume", "again"), [(True, ""), (False, " (without --fresh)")])
def test_how_to_go_on_after_a_signal(
    tiny: Network, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    resume: bool, again: str,
) -> None:  # fmt: skip
    clock = Clock(monkeypatch, stop=2)
    with pytest.raises(TrainingStopped) as stopped:
        train(tiny, recipe(iterations=5), tmp_path, hooks=[clock], resume=resume)
    assert str(stopped.value) == (
        f"Stopped after iteration 3 of 5; the state is saved in '{tmp_path}': repeat the "
        f"command{again} to go on from there."
    )
    assert clock.saved == [3]


def test_a_signal_during_the_last_iteration_stops_nothing(
    tiny: Network, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch, stop=4)
    result = train(tiny, recipe(iterations=5), tmp_path, hooks=[clock])
    assert clock.saved == [5]
    entry = result.card.history[-1]
    assert {key: entry[key] for key in ("step", "iterations", "batch", "loss", "seed")} == {
        "step": "train", "iterations": 5, "batch": 4, "loss": "l1", "seed": 0
    }  # fmt: skip
    assert (len(entry["recipe"]), len(entry["data"])) == (16, 16)
    told = {"step", "recipe", "data", "trained_on", "iterations", "batch", "loss", "seed"}
    assert set(entry) == told


def test_threads_are_those_of_the_recipe_for_the_run_alone(
    tiny: Network, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Look(StepHook):
        def before_step(self, module: nn.Module, iteration: int) -> None:
            seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    train(tiny, recipe(iterations=1, threads=before + 1), tmp_path / "a", hooks=[Look()])
    assert torch.get_num_threads() == before
    train(tiny, recipe(iterations=1, threads=None), tmp_path / "b", hooks=[Look()])
    assert seen == [before + 1, before]
