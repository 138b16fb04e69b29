"""Training the masks of SMSR: their temperature, and the loss that makes them sparse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.smsr.network import SMSR, computed_fraction
from srdeploy.train.hooks import Forward, StepHook
from srdeploy.train.recipe import Sparsity


@contextmanager
def densities(module: nn.Module) -> Iterator[list[Tensor]]:
    """Within it, the computed fraction ``[n_layers]`` of every mask module that runs is appended.

    Args:
        module: An SMSR, in training or evaluation mode.
    """
    assert isinstance(module, SMSR)
    found: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        found.append(computed_fraction(*inputs[1:]))

    with ExitStack() as stack:
        for one in module.mask_modules():
            stack.callback(one.body.register_forward_pre_hook(note).remove)
        yield found


class SparsityHook(StepHook):
    """Sets the temperature before each iteration and adds the sparsity loss.

    It remembers nothing: temperature and weight follow from the iteration, so a resumed run goes on
    exactly.

    Args:
        network: To be trained.
        settings: Weight, warm-up and temperatures.

    Raises:
        UserError: the network is no SMSR.
    """

    def __init__(self, network: Network, settings: Sparsity) -> None:
        if not isinstance(network.module, SMSR):
            raise UserError(
                f"The recipe's `sparsity` section is for the masks of SMSR, and this network is "
                f"{network.card.arch}; leave it out."
            )
        self._settings = settings
        self._unit = network.card.value_range / 255
        self._seen: list[Tensor] = []
        self._inputs: Tensor | None = None
        self._module: SMSR | None = None
        self._attached = ExitStack()

    def attach(self, module: nn.Module) -> None:
        """Watch the masks."""
        assert isinstance(module, SMSR)
        self._module = module
        self._seen = self._attached.enter_context(densities(module))

    def detach(self) -> None:
        """Stop watching; masks are hard again."""
        self._attached.close()
        if self._module is not None:
            self._module.temperature = None

    def temperature(self, iteration: int) -> float:
        """Of an iteration (from 0): from ``start`` to ``end`` in ``anneal`` steps."""
        settings = self._settings
        if iteration >= settings.anneal:
            return settings.end
        return settings.start + (settings.end - settings.start) * iteration / settings.anneal

    def weight(self, iteration: int) -> float:
        """Of the loss in an iteration (from 0), in units of 255 grey levels."""
        settings = self._settings
        return settings.weight * min(1.0, iteration / settings.warmup if settings.warmup else 1.0)

    def before_forward(self, module: nn.Module, iteration: int) -> None:
        """Set the temperature and forget the densities of the last pass."""
        assert self._module is not None
        self._module.temperature = self.temperature(iteration)
        self._seen.clear()

    def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
        """``loss + weight * mean computed fraction``."""
        self._inputs = forward.inputs
        return loss + self.weight(iteration) * self._unit * torch.stack(self._seen).mean()

    def report(self, module: nn.Module, iteration: int) -> dict[str, float]:
        """``density`` of the latest batch under the hard masks of inference, and how it is made."""
        assert self._module is not None
        assert self._inputs is not None
        soft = torch.stack(self._seen).mean()
        hard = hard_density(self._module, self._inputs).mean()
        return {
            "density": round(float(hard), 4),
            "density_soft": round(float(soft.detach()), 4),
            "temperature": round(self.temperature(iteration), 4),
            "sparsity_weight": round(self.weight(iteration), 5),
        }


def hard_density(module: SMSR, images: Tensor) -> Tensor:
    """Computed fraction ``[n_modules, n_layers]`` in inference, mean over a batch of images."""
    training = module.training
    module.eval()
    try:
        with densities(module) as found, torch.no_grad():
            module(images)
    finally:
        module.train(training)
    return torch.stack(found)
