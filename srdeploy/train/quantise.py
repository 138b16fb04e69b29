"""Fine-tuning for 8 bits: the network learns under the rounding it will be shipped with.

The weights learn under their own rounding, whose scales follow them; the ends of the activations'
intervals start where calibration found them and are learned too, for the first part of the run.
Then they stay, so that the weights settle on the grids that will be exported.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.quantised import SMALLEST_SCALE, STEPS, Quantised
from srdeploy.train.fake_quant import Grid, Rounding, rounding
from srdeploy.train.hooks import StepHook
from srdeploy.train.recipe import TrainRecipe
from srdeploy.train.schedule import learning_rate

_LEAST, _MOST = 0.05, 4.0
"""An interval's end stays within these multiples of where it began."""


class QuantiseHook(StepHook):
    """Rounds every forward pass, and learns the intervals.

    Each end of an interval is its first value times a factor; the factors are what is learned, with
    an Adam of their own, so that one rate fits intervals of any size. It follows the recipe's
    schedule.

    Args:
        start: Layers, and the intervals to begin with.
        recipe: With its ``quantise``.
    """

    def __init__(self, start: Quantised, recipe: TrainRecipe) -> None:
        assert recipe.quantise is not None
        self._start, self._recipe, self._settings = start, recipe, recipe.quantise
        self._until = round(recipe.iterations * recipe.quantise.learn)
        self._names = list(start.ranges)
        self._first = torch.tensor([start.ranges[name] for name in self._names])
        if start.activations == "int8":  # symmetric: one factor moves both ends
            reach = self._first.abs().amax(1)
            self._first = torch.stack((-reach, reach), 1)
        self._factors = nn.Parameter(torch.ones_like(self._first))
        self._optimiser = torch.optim.Adam([self._factors], recipe.quantise.lr)
        self._attached = ExitStack()

    def attach(self, module: nn.Module) -> None:
        """Round what the module computes from here on."""
        device = next(module.parameters()).device
        self._first = self._first.to(device)
        self._factors.data = self._factors.data.to(device)
        self._factors.requires_grad_(self._until > 0)
        self._attached.enter_context(rounding(module, self._rounding))

    def detach(self) -> None:
        """The module computes in float again."""
        self._attached.close()

    def parameters(self) -> list[nn.Parameter]:
        """The factors."""
        return [self._factors]

    def after_step(self, module: nn.Module, iteration: int) -> None:
        """Move the intervals, or leave them once their time is over."""
        if not self._factors.requires_grad:
            return
        recipe = self._recipe
        self._optimiser.param_groups[0]["lr"] = learning_rate(
            self._settings.lr, recipe.schedule, iteration, recipe.iterations
        )
        self._optimiser.step()
        self._optimiser.zero_grad()
        with torch.no_grad():
            self._factors.clamp_(_LEAST, _MOST)
        self._factors.requires_grad_(iteration + 1 < self._until)

    def report(self, module: nn.Module, iteration: int) -> dict[str, float]:
        """How far the intervals have moved, on average, as a share of their first ends."""
        moved = (self._effective().detach() - 1).abs()[self._first != 0]
        return {"ranges_moved": round(float(moved.mean()), 5)}

    def finish(self, network: Network) -> Network:
        """The network with what was learned on its card."""
        with torch.no_grad():
            ends = (self._first * self._effective()).cpu().tolist()
        quantised = self._start.model_copy(
            update={
                "ranges": {
                    n: (low, high) for n, (low, high) in zip(self._names, ends, strict=True)
                },
                "weights_sha256": weights_sha256(network.module.state_dict()),
            }
        )
        card = network.card.model_copy(update={"quantised": quantised})
        return replace(network, card=card)

    def state_dict(self) -> dict[str, Any]:
        """The intervals' beginnings and factors, and their optimiser."""
        return {
            "names": self._names,
            "layers": list(self._start.layers),
            "first": self._first.cpu(),
            "factors": self._factors.detach(),
            "learning": self._factors.requires_grad,
            "optimiser": self._optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the intervals of the run's start, whatever calibration says today.

        Raises:
            UserError: other layers were rounded.
        """
        if state.get("names") != self._names or state["layers"] != list(self._start.layers):
            raise UserError(
                "The run was started with other layers in 8 bits; choose another run folder, or "
                "start over without resuming."
            )
        device = self._first.device
        self._first = state["first"].to(device)
        with torch.no_grad():
            self._factors.copy_(state["factors"])
        self._factors.requires_grad_(state["learning"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _effective(self) -> Tensor:
        if self._start.activations == "int8":
            return self._factors[:, 1:].expand(-1, 2)
        return self._factors

    def _rounding(self) -> Rounding:
        low, high = (self._first * self._effective()).unbind(1)
        first, last = STEPS[self._start.activations]
        if self._start.activations == "int8":
            scale = (high / last).clamp(min=SMALLEST_SCALE)
            zero = torch.zeros_like(scale)
        else:
            scale = ((high - low) / (last - first)).clamp(min=SMALLEST_SCALE)
            zero = -low / scale
        grids: dict[str, Grid] = dict(
            zip(self._names, zip(scale.unbind(), zero.unbind(), strict=True), strict=True)
        )
        return Rounding(frozenset(self._start.layers), grids, (first, last))
