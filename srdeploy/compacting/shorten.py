"""Networks without some of their blocks, as their architecture itself has them with fewer.

A network of which residual blocks are gone keeps the names of the others: ``body.2`` follows
``body.0``. Where the architecture counts its blocks, the same network is one of a smaller count,
with the names that go with it; every tool that knows the architecture opens its tensors then. Which
option that is, is tried: it is the one whose network has exactly these tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from srdeploy.compacting.proof import prove_equal
from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.architecture import Architecture
from srdeploy.models.card import RemovedPart
from srdeploy.models.network import Network
from srdeploy.models.registry import architecture_of
from srdeploy.models.removed_parts import remove_parts
from srdeploy.models.resize import layer_widths, resize, set_numbers

CLAIM = "renumbered(x) == shortened(x)"


def shortened(network: Network) -> Network:
    """The same network with as few parts told as removed on its card as can be.

    Args:
        network: Left as it is. Parts that its architecture cannot have fewer of (one block of one
            of several groups, say), or a network of the user's own, stay as the card tells them.

    Raises:
        SrdeployError: another network came out.
    """
    for name in sorted(network.card.removed, key=_place, reverse=True):
        network = _without(network, name) or network
    return network


def _place(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _without(network: Network, name: str) -> Network | None:
    """The network with one part fewer to tell, renumbered; None where it cannot be."""
    card, row = network.card, architecture_of(network.card)
    container, _, number = name.rpartition(".")
    if not number.isdigit() or card.removed[name].adds_nothing or card.quantised is not None:
        return None
    renamed = _renaming(container, int(number))
    tensors = {renamed(key): tensor for key, tensor in network.module.state_dict().items()}
    removed = {
        renamed(key): part.model_copy(update={"layers": [*map(renamed, part.layers)]})
        for key, part in card.removed.items()
        if key != name
    }
    numbers = {renamed(key): own for key, own in card.numbers.items()}
    for option in (one for one in row.layers if card.config.get(one, 0) > 1):
        config = {**card.config, option: card.config[option] - 1}
        base = _base(row, config, removed)
        if base is None or list(base.state_dict()) != list(tensors):
            continue
        shapes = {
            key: list(tensors[key].shape)
            for key, intact in base.state_dict().items()
            if tensors[key].shape != intact.shape
        }
        resize(base, shapes)
        set_numbers(base, numbers)
        base.load_state_dict({key: one.clone() for key, one in tensors.items()}, assign=True)
        _must_equal(network, base.eval())
        changed = {
            **{"config": config, "removed": removed, "numbers": numbers, "shapes": shapes},
            "widths": layer_widths(base),
            "receptive_field": base.facts()["receptive_field"],  # type: ignore[operator]
        }
        return replace(network, module=base, card=card.model_copy(update=changed))
    return None


def _base(
    row: Architecture, config: Mapping[str, Any], removed: Mapping[str, RemovedPart]
) -> nn.Module | None:
    """The network of an option's smaller count; None where it lacks what is to be removed."""
    with torch.device("meta"):
        base = row.factory()(**config)
    try:
        remove_parts(base, removed)
    except UserError:
        return None
    return base


def _renaming(container: str, gone: int) -> Callable[[str], str]:
    """What gives things in a row the names that they have without one of it."""
    pattern = re.compile(re.escape(f"{container}." if container else "") + r"(\d+)(?=\.|$)")

    def renamed(name: str) -> str:
        found = pattern.match(name)
        if found is None or int(found[1]) < gone:
            return name
        return f"{name[: found.start(1)]}{int(found[1]) - 1}{name[found.end(1) :]}"

    return renamed


def _must_equal(network: Network, module: nn.Module) -> None:
    try:
        prove_equal(network.module, module, network.card, CLAIM)
    except SrdeployError as error:
        raise SrdeployError(
            f"Without a removed part the architecture {network.card.arch} computes something else "
            "than the network that was shortened; please report it."
        ) from error
