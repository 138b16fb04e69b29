"""Layers that compute the same as a network's own, and can be pruned: put in place at import."""

from __future__ import annotations

from torch import nn

from srdeploy.models.baked import bake
from srdeploy.models.card import Card
from srdeploy.models.computed_weights import compute_weights
from srdeploy.models.plain_attention import unpack_attention


def plain_layers(module: nn.Module) -> nn.Module:
    """Weights instead of what torch computes them from, and attention of single layers; in place.

    Returns:
        The module.
    """
    compute_weights(module)
    unpack_attention(module)
    return module


def as_imported(module: nn.Module, card: Card) -> nn.Module:
    """What the import of a network made of the module that its code builds, with any numbers.

    Returns:
        The module, or what stands in its place.

    Raises:
        UserError: the card names what the module does not have.
    """
    plain_layers(module)
    return module if card.computed is None else bake(module, card.computed)
