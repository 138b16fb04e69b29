"""Ratios of single layers, in the ways in which they are written: patterns, numbers, a network.

* ``PATTERN=RATIO``: layers by name.
* ``[0-1000:0.8, 1001:0.5]``: layers by number, both ends included, as SRP's ``--stage_pr`` has it.
  Convolutions and linear layers are counted in the order in which the module holds them.
* A pruned form of the same network: each layer loses the share of channels that it lacks there.

The last two speak of all layers, those included that can lose nothing; these are left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from srdeploy.errors import UserError
from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.pruning.options import matches
from srdeploy.pruning.tracing.groups import find_groups

_RANGE = re.compile(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*:\s*([0-9.eE+-]+)\s*")


def read_layer_ratios(
    texts: Sequence[str], network: Network, exclude: Sequence[str] = ()
) -> dict[str, float]:
    """Layer name or pattern to its ratio.

    Args:
        texts: As they were typed; a later one replaces what earlier ones say of a layer's name.
        network: What is to be pruned.
        exclude: Patterns of layers that lose nothing.

    Raises:
        UserError: a text that is neither form, or a network of other layers.
    """
    network = folded(network)
    ratios: dict[str, float] = {}
    may_go: set[str] = set()  # found by tracing, once, where it is asked for
    for text in texts:
        pattern, separator, number = text.rpartition("=")
        if separator:
            ratios[pattern] = _number(text, number)
            continue
        if text.startswith("["):
            found = _by_number(text, list(network.card.widths))
        elif text.endswith((".safetensors", ".st", ".pt", ".pth")):
            found = _as_in(text, network)
        else:
            raise _unclear(text)
        may_go = may_go or _may_go(network, exclude)
        ratios |= {name: ratio for name, ratio in found.items() if name in may_go}
    return ratios


def _may_go(network: Network, exclude: Sequence[str]) -> set[str]:
    """Layers that may lose channels."""
    return {
        layer
        for group in find_groups(network).groups
        if group.status != "untouchable" and not any(matches(group, pattern) for pattern in exclude)
        for layer in group.layers
    }


def _by_number(text: str, layers: list[str]) -> dict[str, float]:
    ratios: dict[str, float] = {}
    if not text.endswith("]"):
        raise _unclear(text)
    for part in text[1:-1].split(","):
        if (match := _RANGE.fullmatch(part)) is None:
            raise _unclear(text)
        first, last = int(match[1]), int(match[2] or match[1])
        ratios |= dict.fromkeys(layers[first : last + 1], _number(text, match[3]))
    return ratios


def _as_in(file: str, network: Network) -> dict[str, float]:
    from srdeploy.models.load import load_network

    before, after = network.card.widths, load_network(file).card.widths
    if before.keys() != after.keys():
        raise UserError(f"'{file}' has other layers than the network to prune; name a form of it.")
    if wider := [name for name in before if after[name] > before[name]]:
        raise UserError(
            f"'{file}' has more channels than the network to prune ({wider[0]}: "
            f"{after[wider[0]]} and {before[wider[0]]}); name a pruned form of it."
        )
    return {name: 1 - after[name] / before[name] for name in before}


def _number(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise _unclear(text) from None


def _unclear(text: str) -> UserError:
    return UserError(
        f"--layer-ratio '{text}' is not PATTERN=RATIO; write for instance 'body.*=0.3', "
        "'[0-15:0.3,16:0.5]' for layers by number, or the file of a pruned form of the network."
    )
