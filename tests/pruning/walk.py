"""Pruners without a training loop: an evaluator that takes plain gradient steps on a toy loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from srdeploy.models.network import Network
from srdeploy.pruning.methods.assl import ASSLPruner
from srdeploy.pruning.methods.evaluator import StepEvaluator
from srdeploy.pruning.methods.gassl import GASSLPruner
from srdeploy.pruning.methods.srp import SRPPruner
from srdeploy.pruning.methods.trained import TrainedPruner
from srdeploy.pruning.methods.training import TrainedOptions, check_fit
from srdeploy.pruning.tracing.groups import find_groups

KINDS: dict[str, type[TrainedPruner]] = {
    "srp": SRPPruner,
    "assl": ASSLPruner,
    "gassl": GASSLPruner,
}


class Walk(StepEvaluator):
    """Descends ``pull`` times the mean square of the weights.

    Attributes:
        lr: Of plain gradient descent; 0 leaves the weights where they are.
        pull: 0 leaves nothing but what the pruner adds.
        visit: Called with the iteration after each step.
        losses: The loss of each iteration before and after it was patched.
    """

    def __init__(
        self,
        lr: float = 0.0,
        pull: float = 1.0,
        visit: Callable[[int], Any] = lambda _: None,
    ) -> None:
        super().__init__()
        self.lr, self.pull, self.visit = lr, pull, visit
        self.losses: list[tuple[float, float]] = []

    def train(self, max_steps: int | None = None, max_epochs: int | None = None) -> None:
        """``max_steps`` steps."""
        assert self.model is not None
        for self.iteration in range(max_steps or 0):
            trained = [p for p in self.model.parameters() if p.requires_grad]
            plain = self.pull * torch.stack([p.square().mean() for p in trained]).mean()
            patched = plain
            for patch in self.loss_patches:
                patched = patch(patched, None)
            self.losses.append((float(plain.detach()), float(patched.detach())))
            self.model.zero_grad()
            patched.backward()
            for task in self.before_step:
                task()
            with torch.no_grad():
                for parameter in trained:
                    if parameter.grad is not None:
                        parameter -= self.lr * parameter.grad
            for task in self.after_step:
                task()
            self.visit(self.iteration)

    def finetune(self) -> None:
        """Nothing."""

    def evaluate(self) -> None:
        """Nothing."""

    def get_dummy_input(self) -> Any:
        """Nothing."""


def pruner_of(
    network: Network, evaluator: StepEvaluator, unit: float = 1.0, **options: Any
) -> TrainedPruner:
    """A pruner of ``options['method']`` on the network's own module."""
    grouping = find_groups(network)
    asked = TrainedOptions.model_validate({"method": "srp", "ratio": 0.5, **options})
    counts = check_fit(grouping, asked)
    return KINDS[asked.method](network.module, grouping, counts, asked, evaluator, unit)


def set_filters(layer: nn.Module, sizes: list[float]) -> None:
    """Make the filters of a convolution constant, of these mean magnitudes, with random signs."""
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    with torch.no_grad():
        signs = torch.randn(weight.shape).sign()
        weight.copy_(signs * torch.tensor(sizes).view(-1, 1, 1, 1))
