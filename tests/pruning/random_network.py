"""A random network, rebuilt from a list of block names and a seed."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from tests.pruning.blocks import BLOCKS


class RandomNetwork(nn.Module):
    """Head, blocks by name, tail; weights are large enough for any mistake to show."""

    def __init__(self, names: list[str], seed: int, channels: int, scale: int, tail: str) -> None:
        super().__init__()
        rng = random.Random(seed)
        self.scale, self.channels, self.value_range = scale, channels, 1.0
        width = rng.choice([4, 6])
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.ModuleList()
        for name in names:
            self.body.append(BLOCKS[name](width, rng))
            width = self.body[-1].c_out
        self.skip = rng.random() < 0.3
        if self.skip:
            self.close = nn.Conv2d(width, self.head.out_channels, 1)
            width = self.head.out_channels
        if tail == "shuffle":
            self.tail = nn.Sequential(
                nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale)
            )
        elif tail == "transposed":
            self.tail = nn.ConvTranspose2d(width, channels, scale, stride=scale)
        else:
            self.tail = nn.Sequential(
                nn.Conv2d(width, 2 * scale**2, 1),
                nn.PixelShuffle(scale),
                nn.Conv2d(2, channels, 3, padding=1),
            )
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, tensor in [*self.named_parameters(), *self.named_buffers()]:
                if not tensor.is_floating_point():
                    continue
                noise = torch.randn(tensor.shape, generator=generator)
                if tensor.dim() > 1:
                    tensor.copy_(noise / max(1, tensor[0].numel()) ** 0.5)
                else:
                    tensor.copy_(noise.abs() + 0.5 if name.endswith("var") else 0.5 * noise)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        head = y = self.head(x)
        for block in self.body:
            y = block(y)
        return self.tail(head + self.close(y) if self.skip else y)
