"""What may be added to the training loop without changing it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn


class StepHook(Protocol):
    """Called around every optimiser step; a pruning regulariser is one of these.

    Whatever a hook must remember goes through its state dict into the checkpoint, so that a run
    can be killed and resumed in the middle of its work.
    """

    def before_step(self, module: nn.Module, iteration: int) -> None:
        """After the backward pass, with true-scale gradients, before clipping and the step."""

    def after_step(self, module: nn.Module, iteration: int) -> None:
        """After the optimiser has changed the weights."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, and lists and dictionaries of them."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
