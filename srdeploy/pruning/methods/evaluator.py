"""NNI's evaluator over a training loop that calls back around every step.

NNI's training-aware pruners act on a training run through an ``Evaluator``: they add tasks before
and after the optimiser's step and patch the loss. NNI's own evaluators do so by replacing methods
of the user's optimiser and training step. Here the loop offers those places itself, so patching is
keeping lists; and since the loop writes checkpoints, a pruner can also hand over what it must
remember to survive a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from nni.compression.utils import Evaluator
from torch import Tensor, nn

Task = Callable[[], None]
Patch = Callable[[Tensor, Any], Tensor]


class Stateful(Protocol):
    """Whatever must survive a kill."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, and lists and dictionaries of them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""


class StepEvaluator(Evaluator):
    """What pruners ask of a training run; a subclass runs it in :meth:`train`.

    Attributes:
        model: The bound module, which is trained in place.
        iteration: The current iteration, from 0.
    """

    def __init__(self) -> None:
        self._initialization_complete = False
        self.model: nn.Module | None = None
        self.iteration = 0
        self.before_step: list[Task] = []
        self.after_step: list[Task] = []
        self.loss_patches: list[Patch] = []
        self.reporters: list[Callable[[], Mapping[str, float]]] = []
        self.remembered: list[Stateful] = []

    def _init_optimizer_helpers(self, pure_model: nn.Module) -> None:
        """The loop makes its optimiser itself, for whatever module is bound."""
        self._initialization_complete = True

    def bind_model(self, model: nn.Module, param_names_map: dict[str, str] | None = None) -> None:
        """Choose the module to train."""
        self.model = model

    def unbind_model(self) -> None:
        """Forget the module and everything added around its steps."""
        self.revert_loss()
        self.revert_optimizer_step()
        self.remove_all_hooks()
        self.reporters.clear()
        self.remembered.clear()
        self.model = None

    def patch_loss(self, patch: Patch) -> None:
        """Add ``loss = patch(loss, batch)`` to each iteration; ``batch`` is (inputs, targets)."""
        self.loss_patches.append(patch)

    def revert_loss(self) -> None:
        """Take every loss patch away."""
        self.loss_patches.clear()

    def patch_optimizer_step(
        self, before_step_tasks: list[Task], after_step_tasks: list[Task]
    ) -> None:
        """Add tasks around each optimiser step."""
        self.before_step.extend(before_step_tasks)
        self.after_step.extend(after_step_tasks)

    def revert_optimizer_step(self) -> None:
        """Take every task away."""
        self.before_step.clear()
        self.after_step.clear()

    def remember(self, owner: Stateful) -> None:
        """Keep an object's state in the run's checkpoints."""
        self.remembered.append(owner)

    def report(self, reporter: Callable[[], Mapping[str, float]]) -> None:
        """Show figures in the run's journal."""
        self.reporters.append(reporter)
