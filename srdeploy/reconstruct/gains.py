"""What an error in a layer's output does to the network's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from srdeploy.reconstruct.linear_form import LinearForm

SHARE = 0.05
"""Amplitude of the error that is tried, relative to that of the layer's output."""


def output_gains(
    module: nn.Module, layers: Iterable[str], inputs: Sequence[Tensor], seed: int = 0
) -> dict[str, float]:
    """How much of a layer's relative error arrives at the network's output.

    White noise is added to a layer's output, at a small share of its amplitude about its mean, and
    the mean squared change of the network's output is divided by the noise's relative power.

    Args:
        module: The network, in evaluation mode; it is run, not changed.
        layers: Names of layers that have a linear form.
        inputs: Network inputs, ``[N, C, H, W]`` each.
        seed: Of the noise.

    Returns:
        For each layer that runs: mean squared error of the output per relative squared error of
        the layer, in squared units of the output.
    """
    with torch.no_grad():
        clean = [module(x.clone()) for x in inputs]
        gains: dict[str, float] = {}
        for name in layers:
            generator = torch.Generator().manual_seed(seed)
            layer = module.get_submodule(name)
            ran: list[bool] = []

            def disturb(
                _: nn.Module,
                given: object,
                output: Tensor,
                layer: nn.Module = layer,
                generator: torch.Generator = generator,
                ran: list[bool] = ran,
            ) -> Tensor:
                ran.append(True)
                noise = torch.randn(output.shape, generator=generator, dtype=output.dtype)
                spread = LinearForm(layer).outputs(output).var(-1).mean().sqrt()
                return output + noise * (SHARE * spread)

            handle = layer.register_forward_hook(disturb)
            try:
                changed = [module(x.clone()) for x in inputs]
            finally:
                handle.remove()
            if ran:
                error = sum(
                    float((a - b).double().square().sum())
                    for a, b in zip(changed, clean, strict=True)
                )
                gains[name] = error / sum(one.numel() for one in clean) / SHARE**2
    return gains
