"""The base of building blocks for random networks."""

from __future__ import annotations

import random

from torch import nn


class Block(nn.Module):
    def __init__(self, c: int, rng: random.Random) -> None:
        super().__init__()
        self.c_out = c
        self.make(c, rng)

    def make(self, c: int, rng: random.Random) -> None: ...
