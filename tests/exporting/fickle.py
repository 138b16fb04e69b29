"""Networks whose code asks for the shape of its input, or writes into it: what users bring."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.card import Card
from srdeploy.models.network import Network


class Plain(nn.Module):
    """One convolution and a shuffle."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), 2)


class Branch(Plain):
    """Another activation beyond a threshold of one dimension."""

    def __init__(self, axis: int, threshold: int) -> None:
        super().__init__()
        self.axis, self.threshold = axis, threshold

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return torch.sigmoid(y) if x.shape[self.axis] > self.threshold else torch.relu(y)


class Counted(Plain):
    """A number computed from a size; the operations are the same for all."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + max(0, x.shape[-1] - 100) * 0.01


class InPlace(Plain):
    """Scales its input where it lies, as spandrel's RCAN does, and shifts it too."""

    def forward(self, x: Tensor) -> Tensor:
        x *= 255.0
        x.sub_(100.0)
        return super().forward(x) / 255.0


class Particular(Plain):
    """A smallest size and a multiple of its own, which its card does not know."""

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 40 or x.shape[-2] % 8 or x.shape[-1] % 8:
            raise ValueError("at least 40 pixels, in steps of 8")
        return super().forward(x)


class Single(Plain):
    """Takes one image at a time."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(1, *x.shape[1:]))


class Loud(Plain):
    """Pruned and not tuned: gates saturated by large numbers, outputs of billions."""

    def __init__(self, gain: float = 4.0) -> None:
        super().__init__()
        blocks = [nn.Conv2d(i, 12, 3, padding=1) for i in (3, *[12] * 8)]
        self.blocks = nn.ModuleList(blocks)
        self.gates = nn.ModuleList([nn.Conv2d(12, 12, 1) for _ in blocks])
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(gain if parameter.dim() == 4 else 0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(x * 255)

    def mixed(self, y: Tensor) -> Tensor:
        for block, gate in zip(self.blocks, self.gates, strict=True):
            y = nn.functional.leaky_relu(block(y), 0.05)
            y = y * torch.sigmoid(gate(y))
        return nn.functional.pixel_shuffle(y, 2) * 1e6


def network(module: nn.Module, **facts: Any) -> Network:
    """A network of the user's own, x2, RGB in 0..1."""
    card = Card(arch="tests:own", scale=2, scales=(2,), channels=3, value_range=1.0, **facts)
    return Network(module.eval(), card)
