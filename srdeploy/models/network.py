"""A network: the module and the card that describes it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import nn

from srdeploy.models.card import Card

Factory = Callable[[], nn.Module]


@dataclass
class Network:
    """A module in evaluation mode (float32, CPU) with its card.

    Attributes:
        module: What computes.
        card: What it is.
        make: Makes the module as it was before any pruning, where neither the registry nor an
            import does: of a network that was made from a live module.
    """

    module: nn.Module
    card: Card
    make: Factory | None = field(default=None, compare=False)

    def copy(self) -> Network:
        """A network whose tensors are its own."""
        return replace(self, module=copy.deepcopy(self.module))

    def __repr__(self) -> str:
        """One line."""
        params = sum(p.numel() for p in self.module.parameters() if p.requires_grad)
        return f"Network({self.card}, {params / 1000:,.1f}K parameters)"
