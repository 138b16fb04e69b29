"""What may be added to the training loop without changing it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from srdeploy.models.network import Network


class Forward(NamedTuple):
    """One forward pass: inputs, the network's outputs and targets ``[N, C, H, W]``, float32."""

    inputs: Tensor
    outputs: Tensor
    targets: Tensor


class StepHook:
    """Called around every optimiser step; does nothing unless overridden.

    Pruning regularisers and distillation are hooks. Whatever a hook must remember goes through its
    state dict into the checkpoint, so that a run can be killed and resumed in the middle of its
    work.
    """

    def attach(self, module: nn.Module) -> None:
        """Once, when the module to be trained is on its device, before any state is restored."""

    def detach(self) -> None:
        """Once, when training ends, however it ends: leave no trace on the module."""

    def parameters(self) -> list[nn.Parameter]:
        """What the hook learns besides the weights, and steps itself in :meth:`after_step`.

        Their gradients are averaged over the processes like those of the weights.
        """
        return []

    def before_forward(self, module: nn.Module, iteration: int) -> None:
        """Before the network sees the iteration's batch."""

    def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
        """The loss to use in place of ``loss`` (a scalar in units of the value range)."""
        return loss

    def before_step(self, module: nn.Module, iteration: int) -> None:
        """After the backward pass, with true-scale, clipped gradients, before the step."""

    def after_step(self, module: nn.Module, iteration: int) -> None:
        """After the optimiser has changed the weights."""

    def finish(self, network: Network) -> Network:
        """The network to measure and hand on, from one with the run's weights."""
        return network

    def report(self, module: nn.Module, iteration: int) -> dict[str, float]:
        """Figures for the journal, asked for every ``log_every`` iterations."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers, strings, and lists and dictionaries of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
