"""Parameters and multiply-accumulates, counted the way the field's tables count them."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srdeploy.models.network import Network
from srdeploy.models.probes import Size, photograph, run
from srdeploy.models.registry import architecture_of_module

OUTPUT_720P = (720, 1280)
"""Height and width of the *output* every published MACs column refers to."""


@dataclass(frozen=True)
class Counts:
    """Size of a network.

    Attributes:
        params: Trainable parameters (frozen mean shifts are not counted, as in the papers).
        macs_720p: Multiply-accumulates of convolutions and matrix products for a 1280x720 output.
    """

    params: int
    macs_720p: int


def count(network: Network) -> Counts:
    """Count parameters and MACs, without computing anything: it runs on torch's meta device.

    A network whose code wants numbers is run on a photograph.
    """
    module = architecture_of_module(network.module).counted_form(network.module)
    params = sum(p.numel() for p in module.parameters() if p.requires_grad)
    height, width = lr_size_720p(network)
    return Counts(params, macs(network, height, width))


def lr_size_720p(network: Network) -> tuple[int, int]:
    """Input height and width for a 1280x720 output (x3 rounds down, as published)."""
    scale, multiple = network.card.network_scale, network.card.size_multiple
    height, width = (n // scale // multiple * multiple for n in OUTPUT_720P)
    return height, width


def macs(network: Network, height: int, width: int) -> int:
    """MACs of one input image of the given height and width, frozen mean shifts excepted.

    What skips work depending on the image (SMSR) is counted as if it skipped nothing.
    """
    return sum(macs_by_layer(network, height, width).values())


def macs_by_layer(network: Network, height: int, width: int) -> dict[str, int]:
    """The same by layer; what no layer computes (products of activations) has the name ``""``."""
    by_module = macs_by_module(network, height, width)
    layers = {
        name for name, part in network.module.named_modules()
        if name and any(True for _ in part.parameters(recurse=False))
    }  # fmt: skip
    found = {name: count for name, count in by_module.items() if name in layers}
    return found | {"": sum(by_module.values()) - sum(found.values())}


def macs_by_module(network: Network, height: int, width: int) -> dict[str, int]:
    """The same by the module whose own code computes it; the network itself has the name ``""``.

    Raises:
        CannotRunError: the network does not take the size.
    """
    module, counter = _counted(network, (height, width))
    per_module = counter.get_flop_counts()
    found: dict[str, int] = {}

    def of(name: str) -> int:
        if not name:
            return counter.get_total_flops()
        return sum(per_module.get(f"{type(module).__name__}.{name}", {}).values())

    for name, part in module.named_modules():
        own = list(part.parameters(recurse=False))
        if name and own and not any(parameter.requires_grad for parameter in own):
            continue
        inside = (f"{name}.{child}" if name else child for child, _ in part.named_children())
        found[name] = (of(name) - sum(map(of, inside))) // 2
    return found


def _counted(network: Network, size: Size) -> tuple[nn.Module, FlopCounterMode]:
    """What was counted and the counts; computed only where the code wants numbers."""
    architecture = architecture_of_module(network.module)
    x = torch.empty(1, network.card.channels, *size, device="meta")
    for place in (nullcontext(), torch.device("meta")):  # for tensors that the code makes
        module = architecture.counted_form(network.module).to("meta")
        counter = FlopCounterMode(display=False)
        with suppress(Exception), counter, place, torch.no_grad():
            module(x)
            return module, counter
    module, counter = architecture.counted_form(network.module), FlopCounterMode(display=False)
    with counter:
        run(module, torch.from_numpy(photograph(network.card, size)))
    return module, counter
