"""Where a network's code takes another way: sizes and batches that a tracer has not seen.

Code may ask for the size of its input and do something else with large images, or with several at
a time. A tracer follows one way and writes it for all. Which sizes are of another kind shows
without computing anything: torch runs the network on tensors that have a shape and no content, and
the sequence of operations is the network's way. Up to full HD that takes a moment.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from srdeploy.models.network import Network
from srdeploy.models.probes import Size
from srdeploy.models.watch import CallWatch, name_of

_TINY: Size = (12, 12)

_LARGE: tuple[Size, ...] = ((112, 200), (216, 392), (432, 776), (720, 1288), (1080, 1928))
"""Images with two large sides: code that asks whether one is large does something else there."""

_SIDES = (72, 104, 136, 200, 264, 392, 520, 776, 1032, 1288, 1928)
"""One side with a small other one: cheaper to compare on, where the same way is taken."""

_BATCHES = (3, 4, 8)
_NOWHERE = torch.device("meta")  # tensors have a shape there and no content

Way = tuple[str, ...] | None


class _Names(CallWatch):
    """The names of the operations, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call, and note its name."""
        self.names.append(name_of(func))
        return func(*args, **kwargs)


def other_ways(
    network: Network, sizes: Iterable[Size], batches: Iterable[int]
) -> list[tuple[Size, int]]:
    """Sizes and batches at which a network does something else than at the known ones.

    Args:
        network: float32, on the CPU.
        sizes: Heights and widths that are known.
        batches: Numbers of images that are known; 1 alone for a network that takes no other.

    Returns:
        One small input of each kind met; none where the network does not run without content (it
        reads a pixel's value).
    """
    known, counts = list(sizes), list(batches)
    small, multiple, channels = known[0], network.card.size_multiple, network.card.channels
    try:
        module = copy.deepcopy(network.module).to(_NOWHERE)
    except Exception:  # no ordinary module (a compiled one): nothing is known of its ways
        return []

    def way(size: Size, batch: int) -> Way:
        return _way(module, (batch, channels, *size))

    seen = {way(size, batch) for size in known for batch in counts}
    if None in seen:
        return []
    found: list[tuple[Size, int]] = []
    tried = [(small, batch) for batch in _BATCHES] if counts != [1] else []
    tried += [
        (_above(size, step), 1) for size in (_TINY, *_LARGE) for step in (multiple, 64 * multiple)
    ]
    for size, batch in tried:
        if (new := way(size, batch)) is None or new in seen:
            continue
        seen.add(new)
        cheaper = (
            (one, 1) for one in _one_side(small, multiple) if batch == 1 and way(one, 1) == new
        )
        found.append(next(cheaper, (size, batch)))
    return found


def _one_side(small: Size, multiple: int) -> list[Size]:
    pairs = {pair for side in _SIDES for pair in ((small[0], side), (side, small[1]))}
    return sorted((_above(pair, multiple) for pair in pairs), key=lambda pair: pair[0] * pair[1])


def _above(size: Size, multiple: int) -> Size:
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width


def _way(module: nn.Module, shape: tuple[int, ...]) -> Way:
    """A module's operations on an input of no content; None where it cannot be run so."""
    try:
        with _NOWHERE, torch.no_grad(), _Names() as watch:
            module(torch.empty(shape))
    except Exception:  # whatever the network's own code raises: it takes no such size
        return None
    return tuple(watch.names)
