"""Second moments of what layers read, summed over calibration images in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srdeploy.reconstruct.linear_form import LinearForm

BUDGET = 1 << 30
"""Bytes of moments held at a time; what does not fit is found in another pass."""


@dataclass
class Moments:
    """Of a layer's columns ``u`` (:class:`LinearForm`), all positions of all images together.

    Attributes:
        count: Positions.
        first: Sum of the columns, float64 ``[groups, n]``.
        second: Sum of their outer products, float64 ``[groups, n, n]``.
    """

    count: int
    first: Tensor
    second: Tensor

    @staticmethod
    def zero(groups: int, size: int) -> Moments:
        """Of nothing yet."""
        first = torch.zeros(groups, size, dtype=torch.float64)
        return Moments(0, first, torch.zeros(groups, size, size, dtype=torch.float64))

    def add(self, columns: Tensor) -> None:
        """Add columns ``[groups, n, positions]``; one call's product is in their own type."""
        self.count += columns.shape[-1]
        self.first += columns.sum(-1, dtype=torch.float64)
        self.second += (columns @ columns.mT).double()

    def covariance(self) -> Tensor:
        """Mean outer product with the mean taken off: what is left once a bias is free to move."""
        mean = self.first / self.count
        return self.second / self.count - mean[:, :, None] * mean[:, None, :]


def input_moments(
    module: nn.Module, layers: Iterable[str], inputs: Sequence[Tensor], budget: int = BUDGET
) -> Iterator[tuple[str, Moments]]:
    """Moments of what layers read while a network runs.

    Args:
        module: The network, in evaluation mode.
        layers: Names of layers that have a linear form.
        inputs: Network inputs, ``[N, C, H, W]`` each.
        budget: Bytes that the moments may take at a time.

    Yields:
        Name and moments of each layer that ran, in the order given.
    """
    waiting = list(layers)
    while waiting:
        now: list[str] = []
        taken = 0
        while waiting:
            form = LinearForm(module.get_submodule(waiting[0]))
            groups, _, size = form.matrix().shape
            taken += 8 * groups * size * size
            if now and taken > budget:
                break
            now.append(waiting.pop(0))
        found = _gathered(module, now, inputs)
        yield from ((name, found.pop(name)) for name in now if name in found)


def _gathered(
    module: nn.Module, layers: Sequence[str], inputs: Sequence[Tensor]
) -> dict[str, Moments]:
    found: dict[str, Moments] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name in layers:
            layer = module.get_submodule(name)
            form = LinearForm(layer)

            def read(
                _: nn.Module, given: tuple[Tensor, ...], name: str = name, form: LinearForm = form
            ) -> None:
                columns = form.columns(given[0].detach())
                if name not in found:
                    found[name] = Moments.zero(columns.shape[0], columns.shape[1])
                found[name].add(columns)

            hooks.callback(layer.register_forward_pre_hook(read).remove)
        for x in inputs:
            module(x.clone())
    return found
