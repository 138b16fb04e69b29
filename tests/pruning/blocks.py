"""Building blocks for random networks: each takes c channels and says how many it returns.

Every constructor is ``block(c, rng)`` with a ``random.Random`` that settles its variants, so a
network is rebuilt from a list of names and a seed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import tests.pruning.product_blocks  # noqa: F401 (more blocks)
from tests.pruning.block import Block


class Conv(Block):
    def make(self, c, rng):
        self.c_out = rng.choice([c, c + 2, 2 * c])
        k, d = rng.choice([(1, 1), (3, 1), (3, 2)])
        self.conv = nn.Conv2d(
            c, self.c_out, k, padding=k // 2 * d, dilation=d, bias=rng.random() < 0.5
        )

    def forward(self, x):
        return self.conv(x)


class Grouped(Block):
    def make(self, c, rng):
        g = rng.choice([2, 3])
        self.a = nn.Conv2d(c, 4 * g, 1)
        self.b = nn.Conv2d(4 * g, 2 * g, 3, padding=1, groups=g, bias=rng.random() < 0.5)
        self.c = nn.Conv2d(2 * g, c, 1)

    def forward(self, x):
        return x + self.c(F.relu(self.b(self.a(x))))


class GroupedTransposed(Block):
    def make(self, c, rng):
        self.a = nn.Conv2d(c, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.b = nn.Conv2d(6, c, 1)

    def forward(self, x):
        return self.b(self.up(self.a(x)))[..., : x.shape[-2], : x.shape[-1]]


class Depthwise(Block):
    def make(self, c, rng):
        m = rng.choice([1, 2])
        self.a = nn.Conv2d(c, m * c, 3, padding=1, groups=c, bias=rng.random() < 0.5)
        self.b = nn.Conv2d(m * c, c, 1)
        self.skip = rng.random() < 0.5

    def forward(self, x):
        y = self.b(torch.sigmoid(self.a(x)) if self.skip else self.a(x))
        return x + y if self.skip else y


class Strided(Block):
    def make(self, c, rng):
        self.down = nn.Conv2d(c, c + 1, 3, stride=2, padding=1)
        self.mid = nn.ConvTranspose2d(c + 1, c + 1, 3, padding=1, groups=rng.choice([1, c + 1]))
        self.up = nn.ConvTranspose2d(c + 1, c, 4, stride=2, padding=1, bias=rng.random() < 0.5)

    def forward(self, x):
        return x + self.up(F.relu(self.mid(self.down(x))))[..., : x.shape[-2], : x.shape[-1]]


class Residual(Block):
    def make(self, c, rng):
        self.body = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.ReLU(True), nn.Conv2d(c, c, 1))
            for _ in range(rng.choice([1, 2]))
        )
        self.scale = rng.choice([1.0, 0.1])

    def forward(self, x):
        y = x
        for layer in self.body:
            y = y + layer(y) * self.scale
        return x - y


class ConcatFuse(Block):
    def make(self, c, rng):
        self.a, self.b = nn.Conv2d(c, 3, 1), nn.Conv2d(c, 5, 3, padding=1)
        self.fuse = nn.Conv2d(c + 8, c, 1)

    def forward(self, x):
        return self.fuse(torch.cat([self.a(x), x, F.gelu(self.b(x))], 1))


class ConcatAdd(Block):
    def make(self, c, rng):
        self.a, self.b = nn.Conv2d(c, 2, 1), nn.Conv2d(c, 4, 1, bias=False)
        self.c = nn.Conv2d(c, 6, 1)
        self.c_out = 6

    def forward(self, x):
        return torch.cat((self.a(x), self.b(x)), dim=1) + self.c(x)


class DenseConcat(Block):
    def make(self, c, rng):
        self.layers = nn.ModuleList(nn.Conv2d(c + 3 * i, 3, 3, padding=1) for i in range(3))
        self.fuse = nn.Conv2d(c + 9, c, 1)

    def forward(self, x):
        y = x
        for layer in self.layers:
            y = torch.cat([y, F.leaky_relu(layer(y), 0.2)], 1)
        return x + self.fuse(y)


class Gate(Block):
    def make(self, c, rng):
        self.kind = rng.choice(["simple", "glu", "tanh", "dw"])
        self.a = nn.Conv2d(c, 8, 1)
        self.dw = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.b = nn.Conv2d(4, c, 1)

    def forward(self, x):
        y = self.a(x)
        if self.kind == "dw":
            y = self.dw(y)
        if self.kind == "glu":
            y = F.glu(y, dim=1)
        else:
            first, second = y.chunk(2, dim=1)
            y = first * (torch.tanh(second) if self.kind == "tanh" else second)
        return x + self.b(y)


class Attention(Block):
    def make(self, c, rng):
        self.kind = rng.choice(["conv", "linear", "flatten", "std"])
        self.a = nn.Conv2d(c, c, 3, padding=1)
        kind = nn.Conv2d if self.kind in ("conv", "std") else nn.Linear
        size = (1,) if kind is nn.Conv2d else ()
        self.down, self.up = kind(c, 3, *size), kind(3, c, *size)

    def forward(self, x):
        y = self.a(x)
        if self.kind == "conv":
            s = F.adaptive_avg_pool2d(y, 1)
        elif self.kind == "std":
            s = y.std((2, 3), keepdim=True) + y.mean((2, 3), keepdim=True)
        elif self.kind == "flatten":
            s = F.adaptive_avg_pool2d(y, 1).flatten(1)
        else:
            s = y.mean((2, 3))
        s = torch.sigmoid(self.up(F.relu(self.down(s))))
        if s.dim() == 2:
            s = s.view(s.shape[0], -1, 1, 1)
        return x + y * s


ACTIVATIONS = [
    nn.ReLU, nn.Sigmoid, lambda: nn.LeakyReLU(0.1), nn.GELU, nn.SiLU, nn.Softplus, nn.Hardsigmoid,
    nn.ELU, nn.Tanh, nn.Hardswish, nn.Mish, nn.ReLU6, lambda: nn.PReLU(), lambda: nn.Softmax2d(),
]  # fmt: skip


class Activation(Block):
    def make(self, c, rng):
        pick = rng.randrange(len(ACTIVATIONS) + 2)
        self.act = nn.PReLU(c) if pick >= len(ACTIVATIONS) else ACTIVATIONS[pick]()

    def forward(self, x):
        return self.act(x)


class Norm(Block):
    def make(self, c, rng):
        self.norm = rng.choice(
            [
                lambda: nn.BatchNorm2d(c),
                lambda: nn.BatchNorm2d(c, affine=False),
                lambda: nn.InstanceNorm2d(c, affine=True),
                lambda: nn.InstanceNorm2d(c, affine=True, track_running_stats=True),
                lambda: nn.GroupNorm(c, c),
                lambda: nn.GroupNorm(c, c, affine=False),
                lambda: nn.GroupNorm(1, c),
                lambda: ChannelLayerNorm(c),
            ]
        )()

    def forward(self, x):
        return self.norm(x)


class ChannelLayerNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = nn.LayerNorm(c)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LayerScale(Block):
    def make(self, c, rng):
        self.conv = nn.Conv2d(c, c, 1)
        self.gamma = nn.Parameter(torch.ones(1, c, 1, 1))
        self.beta = nn.Parameter(torch.ones(c))
        self.register_buffer("fixed", torch.ones(1, c, 1, 1))

    def forward(self, x):
        return x + self.conv(x) * self.gamma * self.fixed + self.beta[None, :, None, None]


class TransientConstant(Block):
    def make(self, c, rng):
        self.register_buffer("fixed", torch.rand(1, c, 1, 1), persistent=False)
        self.plain = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return self.plain(F.relu(x * self.fixed))


class Shuffle(Block):
    def make(self, c, rng):
        r, nested = rng.choice([(2, False), (3, False), (2, True)])
        steps = 2 if nested else 1
        layers = [nn.Conv2d(c, 2 * r ** (2 * steps), 1), *[nn.PixelShuffle(r)] * steps]
        layers += [nn.PReLU(2), *[nn.PixelUnshuffle(r)] * steps]
        self.body = nn.Sequential(*layers, nn.Conv2d(2 * r ** (2 * steps), c, 1))

    def forward(self, x):
        return self.body(x)


class ChannelShuffle(Block):
    def make(self, c, rng):
        self.a = nn.Conv2d(c, 8, 1, groups=1)
        self.shuffle = nn.ChannelShuffle(rng.choice([2, 4]))
        self.b = nn.Conv2d(8, c, 1)

    def forward(self, x):
        return self.b(self.shuffle(self.a(x)))


class Resample(Block):
    def make(self, c, rng):
        self.conv = nn.Conv2d(c, c, 3, padding=1)
        self.mode = rng.choice(["nearest", "bilinear", "bicubic"])
        self.pool = rng.choice([F.avg_pool2d, F.max_pool2d])

    def forward(self, x):
        small = self.pool(self.conv(x), 2)
        return x + F.interpolate(small, size=x.shape[2:], mode=self.mode)


class Pad(Block):
    def make(self, c, rng):
        self.conv = nn.Conv2d(c, c, 3)
        self.mode, self.value = rng.choice(
            [("reflect", None), ("replicate", None), ("constant", 0.0), ("constant", 0.7)]
        )

    def forward(self, x):
        return self.conv(F.pad(x, (1, 1, 1, 1), mode=self.mode, value=self.value))


class PadAdd(Block):
    def make(self, c, rng):
        self.conv = nn.Conv2d(c, c, 3)

    def forward(self, x):
        return x + F.pad(self.conv(x), (1, 1, 1, 1))


class Mask(Block):
    def make(self, c, rng):
        self.kind = rng.choice(["conv", "cbam", "expand"])
        self.a = nn.Conv2d(c, c, 3, padding=1)
        self.mask = nn.Conv2d(2 if self.kind == "cbam" else c, 1, 3, padding=1)

    def forward(self, x):
        y = self.a(x)
        if self.kind == "cbam":
            pooled = [y.mean(1, keepdim=True), y.max(1, keepdim=True).values]
            return x + y * torch.sigmoid(self.mask(torch.cat(pooled, 1)))
        mask = torch.sigmoid(self.mask(y))
        return y * (mask.expand_as(y) if self.kind == "expand" else mask)


class Recursive(Block):
    def make(self, c, rng):
        self.a = nn.Conv2d(c, c, 3, padding=1)
        self.inner = nn.Sequential(nn.Conv2d(c, 5, 1), nn.ReLU(), nn.Conv2d(5, c, 1))
        self.again = self.inner  # a second name for the same layers

    def forward(self, x):
        y = F.relu(self.a(x))
        return x + self.again(self.inner(self.a(y)))


class Fanout(Block):
    def make(self, c, rng):
        self.a = nn.Conv2d(c, 6, 1)
        self.b, self.c, self.d = (
            nn.Conv2d(6, c, 1),
            nn.Conv2d(6, c, 3, padding=1),
            nn.Conv2d(6, c, 1),
        )
        self.unused = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        y = self.a(x)
        return torch.stack([self.b(y), self.c(F.relu(y)), self.d(torch.tanh(y))], 1).sum(1)


class MeanShift(Block):
    def make(self, c, rng):
        self.shift = nn.Conv2d(c, c, 1).requires_grad_(False)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return self.conv(self.shift(x))


class InPlace(Block):
    def make(self, c, rng):
        self.a, self.b = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x):
        y = self.a(x)
        y += x
        y.mul_(0.5).clamp_(-50, 50)
        z = self.b(y)
        z.relu_().add_(y)
        return z


class ChannelsLast(Block):
    def make(self, c, rng):
        self.dw = nn.Conv2d(c, c, 3, padding=1, groups=c)
        self.up, self.down = nn.Linear(c, 7), nn.Linear(7, c, bias=rng.random() < 0.5)
        self.gamma = nn.Parameter(torch.ones(c))

    def forward(self, x):
        y = self.dw(x).permute(0, 2, 3, 1)
        y = self.gamma * self.down(F.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


class Choose(Block):
    def make(self, c, rng):
        self.a, self.b = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        return torch.where(a > b, a, torch.maximum(b, x)) + torch.where(
            torch.sigmoid(a) > 0.5, a, b
        )


class SplitSizes(Block):
    def make(self, c, rng):
        self.a = nn.Conv2d(c, 8, 1)
        self.b, self.c = nn.Conv2d(6, 4, 1), nn.Conv2d(6, c, 1)

    def forward(self, x):
        kept, rest = torch.split(self.a(x), (2, 6), dim=1)
        return self.c(torch.cat([kept, F.relu(self.b(rest))], 1))


class ColourToGrey(Block):
    def make(self, c, rng):
        self.grey, self.mix, self.c_out = nn.Conv2d(c, 1, 1), nn.Conv2d(c, 3, 1), 3

    def forward(self, x):
        return self.mix(x) + self.grey(x).repeat(1, 3, 1, 1)


class ChannelSum(Block):
    def make(self, c, rng):
        self.a, self.b = nn.Conv2d(c, 6, 1), nn.Conv2d(1, c, 1)

    def forward(self, x):
        return x + self.b((F.relu(self.a(x)) ** 2).sum(1, keepdim=True))


class Unfollowed(Block):
    """What no rule follows, between layers that can be pruned."""

    def make(self, c, rng):
        self.kind = rng.choice(sorted(_UNFOLLOWED))
        self.a, self.b, self.c = nn.Conv2d(c, 6, 1), nn.Conv2d(6, 5, 1), nn.Conv2d(5, c, 1)
        self.matrix = nn.Parameter(torch.ones(6, 6))
        self.norm = torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 6, 1))
        self.skip = rng.random() < 0.5

    def forward(self, x):
        y = _UNFOLLOWED[self.kind](self, self.a(x))
        y = self.c(F.relu(self.b(y)))
        return x + y if self.skip else y


def _attend(n, y):
    tokens = F.avg_pool2d(y, 3).flatten(2)
    mixed = (tokens.transpose(1, 2) @ tokens).softmax(-1)
    return y + (tokens @ mixed).mean(-1)[..., None, None]


def _write_part(n, y):
    out = torch.zeros_like(y)
    out[:, :2] = y[:, 4:]
    out[..., 1:, :] += y[..., :-1, :]
    return out


def _write_behind_a_view(n, y):
    whole = y.view(y.shape)
    y.sigmoid_()
    return whole


def _write_to_data(n, y):
    y.data.exp_()
    return y + 1.0


def _sample(n, y):
    grid = torch.tanh(y[:, :2]).permute(0, 2, 3, 1)
    return F.grid_sample(y, grid, align_corners=False)


_UNFOLLOWED = {
    "attention": _attend,
    "cumsum": lambda n, y: y.cumsum(1),
    "circular": lambda n, y: F.avg_pool2d(F.pad(y, (1, 1, 1, 1), mode="circular"), 3, 1),
    "computed": lambda n, y: F.conv2d(y, n.b.weight.mT.mean((0, 1))[None].expand(6, 6, 1, 1)),
    "einsum": lambda n, y: torch.einsum("nchw,cd->ndhw", y, n.matrix),
    "fft": lambda n, y: torch.fft.irfft2(torch.fft.rfft2(y) * 0.5, s=y.shape[-2:]),
    "matmul": lambda n, y: (n.matrix @ y.flatten(2)).unflatten(2, y.shape[2:]),
    "norm": lambda n, y: n.norm(y),
    "numbers": lambda n, y: y * n.b.weight.abs().mean(0)[None] + n.b.weight.sum(),
    "sample": _sample,
    "two ways": lambda n, y: F.conv_transpose2d(F.conv2d(y, n.b.weight), n.b.weight),
    "write behind a view": _write_behind_a_view,
    "write to data": _write_to_data,
    "write part": _write_part,
}


BLOCKS: dict[str, type[Block]] = {
    kind.__name__: kind for kind in Block.__subclasses__() if kind is not Block
}
