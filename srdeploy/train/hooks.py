"""What may be added to the training loop without changing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from srdeploy.models.network import Network
from srdeploy.train.recipe import Clip


class Ema:
    """Keeps ``average = d * average + (1 - d) * weight`` for every trainable weight, in float32.

    ``d = min(decay, (1 + t) / (10 + t))`` after ``t`` updates, so that a short run is not held
    back by its random start (the rule of TensorFlow's ExponentialMovingAverage with num_updates).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._weights = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.average = {n: p.detach().float().clone() for n, p in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's weights after an optimiser step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        weights = [p.detach() for p in self._weights.values()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages and the number of updates, as tensors."""
        return {**self.average, "__updates__": torch.tensor(self.updates)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from :meth:`state_dict`."""
        self.updates = int(state["__updates__"])
        for name, value in self.average.items():
            value.copy_(state[name])


def clip_gradients(parameters: Sequence[nn.Parameter], clip: Clip, lr: float) -> None:
    """Clip the parameters' gradients in place; ``lr`` is the rate of the step about to be taken.

    ``value``: each entry to +-limit. ``norm``: all together to an L2 norm of at most limit.
    ``adjustable``: each entry to +-limit/lr (Kim et al., VDSR, CVPR 2016, section 3.2).
    """
    if clip.limit is None:
        return
    if clip.kind == "norm":
        nn.utils.clip_grad_norm_(parameters, clip.limit)
    else:
        limit = clip.limit / lr if clip.kind == "adjustable" else clip.limit
        nn.utils.clip_grad_value_(parameters, limit)


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
