"""What weights do not show is told by what the network makes of a photograph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import torch

from srdeploy.errors import UserError
from srdeploy.models.network import Network
from srdeploy.models.probes import run
from srdeploy.models.value_range import clearly_best, gain

_SIDE = 64  # of the network's input, in pixels


def tell_unseen(
    unseen: Mapping[str, Sequence[Any]],
    build: Callable[[dict[str, Any]], Network],
    source: str,
    assumed: list[str],
) -> dict[str, Any]:
    """The values with which a network upscales a photograph clearly best, and better than bicubic.

    Args:
        unseen: The values that each option may have, the usual one first.
        build: Makes the network with one value of each.
        source: The file, for messages.
        assumed: Is added to: what was found, and what was only assumed.

    Returns:
        One value of each option; of those that no photograph tells, the usual one.

    Raises:
        UserError: nothing tells the scale, which has no usual value.
    """
    choices = list(product(*unseen.values()))
    best = None
    if len(choices) > 1:
        gains = {one: _gain(build(dict(zip(unseen, one, strict=True)))) for one in choices}
        best = clearly_best(gains)
    if best is not None:
        found = dict(zip(unseen, best, strict=True))
        assumed += [f"{key} {value}, as a photograph shows" for key, value in found.items()]
        return found
    if "scale" in unseen:
        *others, last = unseen["scale"]
        factors = ", ".join(map(str, others))
        raise UserError(
            f"The weights in '{source}' do not show by which factor they upscale; pass --scale "
            f"{factors} or {last}."
        )
    found = {key: values[0] for key, values in unseen.items()}
    assumed += [f"{key} {value}, as published" for key, value in found.items()]
    return found


def _gain(network: Network) -> float:
    if network.card.channels not in (1, 3):  # those of a photograph
        return float("-inf")
    multiple = network.card.size_multiple
    side = -(-_SIDE // multiple) * multiple
    return gain(
        lambda x: run(network.module, torch.from_numpy(x)).numpy(), network.card, (side, side)
    )
