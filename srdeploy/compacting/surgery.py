"""Cutting removed channels out of tensors."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import nn

from srdeploy.compacting.proof import prove_equal
from srdeploy.errors import SrdeployError
from srdeploy.models.card import Card
from srdeploy.models.code_numbers import code_numbers
from srdeploy.models.network import Network
from srdeploy.models.removed_parts import card_without
from srdeploy.models.resize import (
    changed_shapes,
    layer_numbers,
    layer_widths,
    resize,
)
from srdeploy.models.store import unpruned_module
from srdeploy.pruning.plan import Plan, apply_masks, cut


def compact(network: Network, plan: Plan) -> Network:
    """Remove a plan's channels physically.

    The result computes what the masked network computes: this is checked on photographs of several
    sizes (:mod:`srdeploy.compacting.proof`), and the record of the check is stored on the card.

    Raises:
        SrdeployError: masked and compact networks differ, or the compact one does not run (a
            network of the user's own that relies on a fixed number of channels).
    """
    masked = copy.deepcopy(network.module)
    apply_masks(masked, plan)
    small = cut_unproven(replace(network, module=masked), plan)
    proof = prove_equal(masked, small.module, small.card)
    return replace(small, card=small.card.model_copy(update={"proof": proof}))


def cut_unproven(network: Network, plan: Plan) -> Network:
    """Remove a plan's channels without looking at what that does: for what only its speed matters.

    Args:
        network: Masked, if its outputs matter.
        plan: What to remove.
    """
    small = cut(network.module, plan)
    return replace(network, module=small.eval(), card=_card_of(network, small, plan))


def _card_of(network: Network, small: nn.Module, plan: Plan) -> Card:
    if plan.parts:
        network = replace(network, card=card_without(network.card, plan.parts))
    base = unpruned_module(network)
    shapes = changed_shapes(base, small)
    resize(base, shapes)
    for (name, rebuilt), wanted in zip(
        layer_numbers(base).items(), layer_numbers(small).values(), strict=True
    ):
        if rebuilt != wanted:
            raise SrdeployError(
                f"Layer '{name}' could not be rebuilt from the file ({rebuilt} instead of "
                f"{wanted}): a grouped convolution that was pruned twice; exclude it."
            )
    numbers = {part: dict(own) for part, own in network.card.numbers.items()}
    for part, own in plan.numbers.items():
        numbers.setdefault(part, {}).update(own)
        numbers[part] |= code_numbers(small.get_submodule(part))
    changed = {"widths": layer_widths(small), "shapes": shapes, "numbers": numbers, "quality": {}}
    updated = network.card.model_copy(update=changed)
    return updated.step(step="prune", method=plan.method, **plan.options)
