"""What each process of test_processes.py runs: several short trainings after one another."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError
from srdeploy.models.store import read_network, save_network
from srdeploy.train import loop
from srdeploy.train.hooks import Forward, StepHook
from srdeploy.train.interrupt import TrainingStopped
from srdeploy.train.method import PruneRecipe, prune_trained
from srdeploy.train.processes import environment, joined
from srdeploy.train.recipe import Adam, TrainRecipe, Validation


class Shrink(StepHook):
    """A penalty through the loss, one through the gradients, and something to remember."""

    def __init__(self) -> None:
        self.largest = 0.0

    def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
        self._error = (forward.outputs - forward.targets).abs().mean()
        return loss + 0.1 * self._error

    def before_step(self, module: nn.Module, iteration: int) -> None:
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad += 0.05 * iteration * parameter.detach()
                self.largest = max(self.largest, float(parameter.grad.abs().max()))

    def state_dict(self) -> dict[str, float]:
        return {"largest": self.largest}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.largest = state["largest"]


class At(StepHook):
    """Does something to this process at one iteration."""

    def __init__(self, iteration: int, what: str) -> None:
        self.iteration, self.what = iteration, what

    def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
        if iteration == self.iteration and self.what == "nan":
            return loss * torch.nan
        return loss

    def before_step(self, module: nn.Module, iteration: int) -> None:
        if iteration == self.iteration and self.what in ("SIGTERM", "SIGKILL"):
            os.kill(os.getpid(), getattr(signal, self.what))
        if iteration == self.iteration and self.what == "drift":
            with torch.no_grad():
                next(p for p in module.parameters() if p.requires_grad).add_(1e-6)


def main(root: Path, runs: list[str]) -> None:
    """Run ``runs``, each "name" or "name:what:rank:iteration"; report what came of them."""
    start = read_network(root / "start.safetensors")
    recipe = TrainRecipe.model_validate_json((root / "recipe.json").read_text())
    processes = environment()
    writes: list[str] = []
    write = loop.save_state

    def counted(path: Path, *rest: object) -> None:
        writes.append(path.parent.name)
        write(path, *rest)  # type: ignore[arg-type]

    loop.save_state = counted
    report: dict[str, object] = {}
    with joined():
        for run in runs:
            name, what, rank, iteration = (*run.split(":"), "", "-1", "0")[:4]
            mine = int(rank or -1) == processes.rank
            hooks = [Shrink(), At(int(iteration), what if mine else "")]
            try:
                if name == "keeps":
                    result = loop.train(start, too_fast(recipe), root / name, step="finetune")
                else:
                    result = loop.train(start, recipe, root / name, hooks=hooks)
                save_network(result, root / f"{name}-{processes.rank}.safetensors")
                report[name] = "done"
            except (SrdeployError, TrainingStopped) as error:
                report[name] = f"{type(error).__name__}: {error}"
                if what == "SIGKILL":
                    print(f"rank {processes.rank}: {error}", file=sys.stderr)
                    raise SystemExit(1) from None
    report["writes"] = writes
    report["threads"] = gloo_threads()
    (root / f"report-{processes.rank}.json").write_text(json.dumps(report))


def too_fast(recipe: TrainRecipe) -> TrainRecipe:
    """Of which nothing comes that is better than the start, measured on what it trains on."""
    check = Validation(data=recipe.data.folders[0].path, every=4)
    adam = Adam(lr=0.5)
    return recipe.model_copy(update={"validation": check, "optimiser": adam, "iterations": 8})


def gloo_threads() -> list[str]:
    """Names of this process's threads that belong to gloo; none where there is no /proc."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


def prune(root: Path) -> None:
    """Run every pruning recipe ``prune-*.json`` of ``root``."""
    start = read_network(root / "start.safetensors")
    with joined() as processes:
        for path in sorted(root.glob("prune-*.json")):
            recipe = PruneRecipe.model_validate_json(path.read_text())
            small, _ = prune_trained(start, recipe, root / f"{path.stem}-two")
            save_network(small, root / f"{path.stem}-{processes.rank}.safetensors")


if __name__ == "__main__":
    if sys.argv[2] == "prune":
        prune(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
