"""Blocks that train with more layers than they run with, and the folding of the one into the other.

Between two activations, a block of such networks is linear: several convolutions in a row or side
by side, an identity, fixed filters. Training them is easier than training the single convolution
that computes the same (SESR, MLSys 2022, section 3; ECBSR, ACM MM 2021, section 3.3). The expanded
form is the one that trains. The folded form runs, is counted, exported and pruned.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.network import Network
from srdeploy.models.registry import base_module
from srdeploy.models.resize import changed_shapes, layer_widths

_OPTION = "expanded"
"""The option of the class of a network with such blocks that says which form it has."""


class Foldable(nn.Module):
    """A block that is one convolution once it is folded, and trains with more layers.

    Training merges them before each pass, too (SESR, section 3.3): the gradients are the same, and
    a pass costs what the folded one costs.

    Attributes:
        expanded: Whether it has its layers for training.
        kept: Name of the convolution that the folded block has.
        dropped: Names of the layers that it does not have.
    """

    expanded: bool
    kept: ClassVar[str]
    dropped: ClassVar[tuple[str, ...]]

    def merged(self) -> tuple[Tensor, Tensor]:
        """The weight ``[out, in, k, k]`` and the bias ``[out]`` that the expanded layers equal."""
        raise NotImplementedError

    def convolve(self, x: Tensor) -> Tensor:
        """What the one convolution makes of ``[N, in, H, W]``, in either form."""
        if not self.expanded:
            return self.get_submodule(self.kept)(x)
        weight, bias = self.merged()
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    def fold(self) -> None:
        """Put the one convolution in the place of the layers; it is computed in float64."""
        like = cast(nn.Conv2d, self.get_submodule(self.kept)).weight
        with torch.no_grad():
            weight, bias = (t.to(like.dtype) for t in copy.deepcopy(self).double().merged())
        n_out, n_in, side, _ = weight.shape
        made = nn.Conv2d(n_in, n_out, side, padding=side // 2, device="meta")
        made.weight = nn.Parameter(weight, requires_grad=like.requires_grad)
        made.bias = nn.Parameter(bias, requires_grad=like.requires_grad)
        setattr(self, self.kept, made)
        for name in self.dropped:
            delattr(self, name)
        self.expanded = False


def is_expanded(module: nn.Module) -> bool:
    """Whether a module has blocks that can be folded."""
    return any(isinstance(block, Foldable) and block.expanded for block in module.modules())


def folded_module(module: nn.Module) -> nn.Module:
    """A copy of a module, its blocks folded."""
    module = copy.deepcopy(module)
    for block in list(module.modules()):
        if isinstance(block, Foldable) and block.expanded:
            block.fold()
    return module


def inference_form(network: Network, portable: bool = False) -> Network:
    """What runs and is exported in place of a network: with folded blocks, under the same card."""
    if not is_expanded(network.module):
        return network
    return replace(network, module=folded_module(network.module).eval())


def folded(network: Network) -> Network:
    """The network with folded blocks, and a card that says so; itself where nothing is to fold."""
    if not is_expanded(network.module):
        return network
    module = folded_module(network.module).eval()
    config = {**network.card.config, _OPTION: False}
    card = network.card.model_copy(
        update={"config": config, "widths": layer_widths(module), "shapes": {}, "quantised": None}
    )
    card = card.model_copy(update={"shapes": changed_shapes(base_module(card), module)})
    blocks = sum(isinstance(block, Foldable) for block in module.modules())
    return replace(network, module=module, card=card.step(step="fold", blocks=blocks))


def add_identity(weight: Tensor) -> Tensor:
    """Filters ``[C, C, k, k]`` whose convolution adds its input, ``k`` odd."""
    middle = weight.shape[-1] // 2
    identity = torch.zeros_like(weight)
    identity[:, :, middle, middle] = torch.eye(
        len(weight), dtype=weight.dtype, device=weight.device
    )
    return weight + identity
