"""NNI's pruners over the one training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.pruning.methods.evaluator import StepEvaluator
from srdeploy.quality.evaluate import evaluate
from srdeploy.train.hooks import Forward, StepHook
from srdeploy.train.loop import train
from srdeploy.train.recipe import HELD_OUT, TrainRecipe
from srdeploy.util.strict import expand


class LoopEvaluator(StepEvaluator):
    """Trains the bound module with :func:`srdeploy.train.loop.train`.

    Checkpoints, resuming, the journal and mixed precision are the loop's, so a pruner that hands
    its state over (:meth:`remember`) can be killed and resumed anywhere.

    Args:
        card: Of the network whose module will be bound.
        recipe: How to train; its ``iterations`` give way to what the pruner asks for.
        run_dir: Folder of the run.
        resume: Go on from what is found there.
        teacher: For recipes that distil.
        step: Name of the stage in progress bars and histories.
    """

    def __init__(
        self,
        card: Card,
        recipe: TrainRecipe,
        run_dir: Path,
        *,
        resume: bool = True,
        teacher: Network | None = None,
        step: str = "regularise",
    ) -> None:
        super().__init__()
        self.card, self.recipe, self.run_dir = card, recipe, run_dir
        self.resume, self.teacher, self.step = resume, teacher, step

    def train(self, max_steps: int | None = None, max_epochs: int | None = None) -> None:
        """Train for ``max_steps`` iterations (default: the recipe's); epochs are not known here.

        The module ends on the CPU with its plain weights of the last iteration: an average lags
        behind a penalty, and whatever measured best was penalised least.
        """
        assert self.model is not None, "bind a model first"
        assert max_epochs is None, "the loop counts iterations"
        steps = max_steps or self.recipe.iterations
        check = self.recipe.validation and self.recipe.validation.model_copy(
            update={"keep": "last"}
        )
        recipe = self.recipe.model_copy(
            update={"iterations": steps, "ema": None, "validation": check}
        )
        result = train(
            Network(self.model, self.card),
            recipe,
            self.run_dir,
            resume=self.resume,
            hooks=[_Tasks(self)],
            step=self.step,
            in_place=True,
            teacher=self.teacher,
        )
        self.card = result.card
        self.model.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.model.eval()

    def finetune(self) -> None:
        """Train for as long as the recipe says."""
        self.train()

    def evaluate(self) -> float | None:
        """PSNR in dB under the recipe's validation; None without one, or on held-out images."""
        check = self.recipe.validation
        if check is None or check.data == HELD_OUT or self.model is None:
            return None
        folder = check.data if check.data == "builtin" else expand(check.data)
        network = Network(self.model, self.card)
        scale = check.scale or self.card.scale
        return evaluate(network, folder, scale, check.protocol, progress=False).psnr

    def get_dummy_input(self) -> Tensor:
        """An input of one small image."""
        side = -(-16 // self.card.size_multiple) * self.card.size_multiple
        return torch.zeros(1, self.card.channels, side, side)


class _Tasks(StepHook):
    """The evaluator's lists, where the loop calls."""

    def __init__(self, evaluator: LoopEvaluator) -> None:
        self._evaluator = evaluator

    def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
        self._evaluator.iteration = iteration
        for patch in self._evaluator.loss_patches:
            loss = patch(loss, forward)
        return loss

    def before_step(self, module: nn.Module, iteration: int) -> None:
        self._evaluator.iteration = iteration
        for task in self._evaluator.before_step:
            task()

    def after_step(self, module: nn.Module, iteration: int) -> None:
        for task in self._evaluator.after_step:
            task()

    def report(self, module: nn.Module, iteration: int) -> dict[str, float]:
        self._evaluator.iteration = iteration
        return {
            name: value
            for reporter in self._evaluator.reporters
            for name, value in reporter().items()
        }

    def state_dict(self) -> dict[str, Any]:
        return {"owners": [owner.state_dict() for owner in self._evaluator.remembered]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for owner, saved in zip(self._evaluator.remembered, state["owners"], strict=True):
            owner.load_state_dict(saved)
