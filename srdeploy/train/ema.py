"""An exponential moving average of the weights: what is measured and handed on."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
