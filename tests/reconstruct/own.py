"""Networks of the tests' own, with a card but no file behind it."""

from __future__ import annotations

from torch import nn

from srdeploy.models.card import Card
from srdeploy.models.network import Network


def network_of(module: nn.Module) -> Network:
    """A colour network for x2 on 0..1."""
    card = Card(arch="own:net", scale=2, scales=(2,), channels=3, value_range=1.0)
    return Network(module.eval(), card)
