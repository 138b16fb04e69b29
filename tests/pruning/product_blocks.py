"""Blocks that multiply activations as matrices: attention as published networks write it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.pruning.block import Block

HEADS, WIDE = 2, 6


def tokens(x):
    """Every third pixel as a token: ``[N, tokens, C]``, and back by nearest neighbour."""
    small = F.avg_pool2d(x, 3)

    def back(y):
        y = y.transpose(1, 2).reshape(x.shape[0], -1, *small.shape[2:])
        return F.interpolate(y, size=x.shape[2:])

    return small.flatten(2).transpose(1, 2), back


class PixelAttention(Block):
    """Between pixels: heads, and a bias or none; in the forms that such code takes."""

    def make(self, c, rng):
        self.kind = rng.choice(["reshape", "chunk", "einsum", "sdpa", "unscaled sdpa", "cosine"])
        self.qkv = nn.Linear(c, 3 * HEADS * WIDE, bias=rng.random() < 0.5)
        self.out = nn.Linear(HEADS * WIDE, c)
        self.bias = nn.Parameter(torch.zeros(HEADS, 1, 1))
        self.skip = rng.random() < 0.5

    def forward(self, x):
        y, back = tokens(x)
        b, n, _ = y.shape
        y = self.qkv(y)
        if self.kind == "chunk":
            q, k, v = (t.reshape(b, n, HEADS, -1).transpose(1, 2) for t in y.chunk(3, -1))
        else:
            width = y.shape[-1] // 3 // HEADS
            q, k, v = y.reshape(b, n, 3, HEADS, width).permute(2, 0, 3, 1, 4)
        y = self.attend(q, k, v).transpose(1, 2).flatten(2)
        y = back(self.out(y))
        return x + y if self.skip else y

    def attend(self, q, k, v):
        if self.kind == "sdpa":
            return F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias, scale=0.4)
        if self.kind == "unscaled sdpa":
            return F.scaled_dot_product_attention(q, k, v)
        if self.kind == "einsum":
            weights = torch.einsum("bhic,bhjc->bhij", q * 0.4, k) + self.bias
            return torch.einsum("...ij,...jc->...ic", weights.softmax(-1), v)
        if self.kind == "cosine":
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = q @ k.transpose(-2, -1) * 0.4 + self.bias
        return torch.matmul(torch.softmax(weights, dim=-1), v)


class ChannelAttention(Block):
    """Between channels, as Restormer has it: a head goes as a whole."""

    def make(self, c, rng):
        self.heads = rng.choice([1, 3])
        self.own = rng.random() < 0.5  # or the code takes the number of heads from the tensor
        wide = 2 * self.heads
        self.normed, self.relu = rng.random() < 0.5, rng.random() < 0.5
        self.qkv = nn.Conv2d(c, 3 * wide, 1)
        self.dw = nn.Conv2d(3 * wide, 3 * wide, 3, padding=1, groups=3 * wide)
        self.out = nn.Conv2d(wide, c, 1)
        self.temperature = nn.Parameter(torch.ones(self.heads, 1, 1))

    def forward(self, x):
        height, width = x.shape[2:]
        q, k, v = (
            t.reshape(len(x), self.heads, -1, height * width)
            if self.own
            else t.reshape(len(x), -1, 2, height * width)
            for t in self.dw(self.qkv(x)).chunk(3, dim=1)
        )
        if self.normed:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = (q @ k.transpose(-2, -1)) * self.temperature
        weights = weights.relu() if self.relu else weights.softmax(dim=-1)
        return x + self.out((weights @ v).reshape(len(x), -1, height, width))


class Correlated(Block):
    """Products without heads, of channels that are summed, kept, or met by others."""

    def make(self, c, rng):
        self.kind = rng.choice(["summed", "kept", "met", "dirty", "fixed", "square"])
        self.a, self.b, self.c = (nn.Conv2d(c, 5, 1) for _ in range(3))
        self.out, self.last = nn.Conv2d(5, c, 1), nn.Conv2d(1, c, 1)

    def forward(self, x):
        a, b, v = (F.avg_pool2d(layer(x), 4).flatten(2) for layer in (self.a, self.b, self.c))
        if self.kind == "dirty":
            a, b = a.sigmoid(), b.cos()
        if self.kind in ("summed", "dirty"):  # pixels x pixels
            y = torch.bmm(a.transpose(1, 2), b).mean((1, 2), keepdim=True)
            return x + self.last(y[..., None])
        if self.kind == "fixed":
            y = b.mean(1, keepdim=True).transpose(1, 2) @ a.mean(1, keepdim=True)
            return x + self.out((v @ y).mean(2)[..., None, None])
        if self.kind == "square":
            y = torch.einsum("bcn,bcm->bnm", a, a)
            return x + self.out((v @ y).mean(2)[..., None, None])
        weights = a.transpose(1, 2) @ b if self.kind == "kept" else a @ b.transpose(1, 2)
        y = v @ weights if self.kind == "kept" else weights @ v
        return x + self.out(y.mean(2)[..., None, None])


class Shuffled(Block):
    """Channels taken apart and put together otherwise, by ``view``."""

    def make(self, c, rng):
        self.kind = rng.choice(["channels", "pixels", "group sum"])
        self.a, self.b = nn.Conv2d(c, 8, 1), nn.Conv2d(8, c, 1)
        self.small = nn.Conv2d(2, c, 1)

    def forward(self, x):
        y = self.a(x)
        n, _, h, w = y.shape
        if self.kind == "channels":
            return x + self.b(y.view(n, 2, -1, h, w).transpose(1, 2).reshape(n, -1, h, w))
        if self.kind == "pixels":
            y = y.view(n, -1, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, -1, 2 * h, 2 * w)
            return F.avg_pool2d(self.small(y), 2) + x
        return x + self.small(y.view(n, 2, -1, h, w).sum(2))


class BakedAttention(Block):
    """Numbers that come from another tensor or are the code's own, as in Swin transformers."""

    def make(self, c, rng):
        self.wide = rng.choice([4, 6])
        self.inner = rng.random() < 0.5  # a layer inside asks for the same sizes
        self.lift, self.norm = nn.Conv2d(c, 2 * self.wide, 1), nn.LayerNorm(2 * self.wide)
        self.qkv = nn.Linear(2 * self.wide, 6 * self.wide, bias=rng.random() < 0.5)
        self.out, self.back = (
            nn.Linear(2 * self.wide, 2 * self.wide),
            nn.Conv2d(2 * self.wide, c, 1),
        )
        self.inside = Flat()

    def forward(self, x):
        y, back = tokens(self.lift(x))
        y = self.norm(y)
        b, n, c = y.shape
        y = self.inside(y) if self.inner else y
        y = self.qkv(y).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = y[0], y[1], y[2]
        weights = (q * 0.4 @ k.transpose(-2, -1)).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape((b, n, c))
        return x + self.back(back(self.out(y)))


class Flat(nn.Module):
    def forward(self, x):
        return torch.reshape(x.flatten(1), (-1,)).view(x.shape)


class GroupNormed(Block):
    """Normalised by whole groups, and a shortcut or none."""

    def make(self, c, rng):
        self.a, self.b = nn.Conv2d(c, 12, 3, padding=1), nn.Conv2d(12, c, 1)
        self.norm = nn.GroupNorm(rng.choice([1, 2, 3, 4, 12]), 12)
        self.skip = rng.random() < 0.5

    def forward(self, x):
        y = self.b(F.relu(self.norm(self.a(x))))
        return x + y if self.skip else y


class Branches(Block):
    """3x3, 1x1 and BatchNorm side by side, as in RepVGG."""

    def make(self, c, rng):
        self.wide, self.thin = nn.Conv2d(c, c, 3, padding=1, bias=False), nn.Conv2d(c, c, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for _ in range(3))

    def forward(self, x):
        first, second, identity = self.norms
        return F.relu(first(self.wide(x)) + second(self.thin(x)) + identity(x))


class ChannelsLastPool(Block):
    """Channels-last tensors, pooled: torch reads the result's memory anew."""

    def make(self, c, rng):
        self.a, self.b = nn.Conv2d(c, 6, 1), nn.Conv2d(6, c, 1)
        self.size = rng.choice([1, 2])

    def forward(self, x):
        y = self.a(x).contiguous(memory_format=torch.channels_last)
        pooled = F.adaptive_avg_pool2d(y, self.size).mean((2, 3), keepdim=True)
        return x + self.b(y * pooled)
