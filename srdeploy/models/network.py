"""A network: the module and the card that describes it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from srdeploy.models.card import Card


@dataclass
class Network:
    """A module in evaluation mode (float32, CPU) with its card."""

    module: nn.Module
    card: Card

    def copy(self) -> Network:
        """A network whose tensors are its own."""
        return Network(copy.deepcopy(self.module), self.card)
