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
_LEAD = 0.2  # dB, of what changes layers: it may cost little, but who trained with it gains by it


def tell_unseen(
    unseen: Mapping[str, Sequence[Any]],
    build: Callable[[dict[str, Any]], Network],
    source: str,
    assumed: list[str],
) -> dict[str, Any]:
    """The values with which a network upscales a photograph clearly best, and better than bicubic.

    Each option is told by itself: by the best that its values reach with any of the others'.

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
    together = list(product(*unseen.values()))
    gains = dict.fromkeys(together, float("-inf"))
    if len(together) > 1:
        gains = {one: _gain(build(dict(zip(unseen, one, strict=True)))) for one in together}
    found: dict[str, Any] = {}
    for i, (key, choices) in enumerate(unseen.items()):
        reached = {
            one: max(g for values, g in gains.items() if values[i] == one) for one in choices
        }
        layers = key not in ("scale", "value_range")
        best = clearly_best(reached, _LEAD) if layers else clearly_best(reached)
        best = best if len(choices) > 1 else None
        if best is None and key == "scale":
            *others, last = choices
            factors = ", ".join(map(str, others))
            raise UserError(
                f"The weights in '{source}' do not show by which factor they upscale; pass --scale "
                f"{factors} or {last}."
            )
        found[key] = choices[0] if best is None else best
        why = "as published" if best is None else "as a photograph shows"
        assumed.append(f"{_told(key, found[key])}, {why}")
    return found


def _told(key: str, value: Any) -> str:
    return f"pixel values run from 0 to {value:g}" if key == "value_range" else f"{key} {value}"


def _gain(network: Network) -> float:
    if network.card.channels not in (1, 3):  # those of a photograph
        return float("-inf")
    multiple = network.card.size_multiple
    side = -(-_SIDE // multiple) * multiple
    return gain(
        lambda x: run(network.module, torch.from_numpy(x)).numpy(), network.card, (side, side)
    )
