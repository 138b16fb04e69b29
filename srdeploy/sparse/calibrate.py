"""The grids of features in 8 bits: what their values are on images.

A module's input is -128..127 steps of one size, the output of a masked layer 0..255 (a ReLU is
behind it). A step for all channels is better than one for each: what clips one channel's largest
value on the few images of a calibration is far within what the others show.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from srdeploy.models.smsr.dense import DenseMasks, DenseModule
from srdeploy.models.smsr.network import SMSR

LEAST = 1e-6
"""The largest value of a tensor that is always zero."""


def steps(network: SMSR, images: Iterable[Tensor]) -> list[Tensor]:
    """The steps of every module's grids.

    Args:
        network: Trained, float32, on the CPU.
        images: Inputs ``[N, 3, H, W]`` in 0..value_range; at least one.

    Returns:
        Per module ``[1 + layers]``: of its input, and of the outputs of its masked layers.
    """
    frame = DenseMasks(network)
    modules = [module for module in frame.body if isinstance(module, DenseModule)]
    inputs, outputs = [_Largest() for _ in modules], [_Largest() for _ in modules]
    hooks = []
    for module, one, other in zip(modules, inputs, outputs, strict=True):
        hooks.append(module.register_forward_pre_hook(one))
        hooks.append(module.collect.register_forward_pre_hook(other))
    with torch.inference_mode():
        for image in images:
            frame(image)
    for hook in hooks:
        hook.remove()
    found = []
    for module, one, other in zip(modules, inputs, outputs, strict=True):
        layers = other.value.split([layer.out_channels for layer in module.inside])
        largest = [one.value.max() / 127, *(layer.max() / 255 for layer in layers)]
        found.append(torch.stack(largest).clamp_min(LEAST))
    return found


class _Largest:
    """A hook that keeps the largest absolute value of each channel of a module's input."""

    value: Tensor

    def __init__(self) -> None:
        self.value = torch.zeros(1)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self.value = torch.maximum(self.value, inputs[0].abs().amax((0, 2, 3)))
