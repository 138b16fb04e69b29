"""Parameters and multiply-accumulates, counted the way the field's tables count them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srdeploy.models.network import Network
from srdeploy.models.probes import photograph, run
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
    architecture = architecture_of_module(network.module)
    x = torch.empty(1, network.card.channels, height, width, device="meta")
    for place in (nullcontext(), torch.device("meta")):  # for tensors that the code makes
        module = architecture.counted_form(network.module).to("meta")
        with suppress(Exception), place, torch.no_grad():
            return _counted(module, lambda own: own(x))
    module = architecture.counted_form(network.module)
    x = torch.from_numpy(photograph(network.card, (height, width)))
    return _counted(module, lambda own: run(own, x))


def _counted(module: nn.Module, call: Callable[[nn.Module], object]) -> dict[str, int]:
    """What each part of a module computes itself while a call runs; frozen layers left out."""
    named = dict(module.named_modules())
    found, running, before = dict.fromkeys(named, 0), [""], 0

    def settle() -> None:
        nonlocal before
        total = counter.get_total_flops()
        found[running[-1]] += total - before
        before = total

    def enter(name: str) -> None:
        settle()
        running.append(name)

    def leave() -> None:
        settle()
        running.pop()

    with ExitStack() as hooks, FlopCounterMode(display=False) as counter:
        for name, part in named.items():
            before_it = part.register_forward_pre_hook(lambda *_, name=name: enter(name))
            hooks.callback(before_it.remove)
            hooks.callback(part.register_forward_hook(lambda *_: leave()).remove)
        call(module)
        settle()
    frozen = {
        name for name, part in named.items()
        if name and (own := list(part.parameters(recurse=False)))
        and not any(parameter.requires_grad for parameter in own)
    }  # fmt: skip
    return {name: count // 2 for name, count in found.items() if name not in frozen}
