"""Small re-creations of blocks from published networks, written for these tests."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def conv(c_in, c_out, k=3, **options):
    return nn.Conv2d(c_in, c_out, k, padding=k // 2, **options)


class Network(nn.Module):
    """head, body (keeps width), long skip, tail of conv and PixelShuffle."""

    def __init__(self, body, width=8, scale=2, channels=3):
        super().__init__()
        self.head, self.body = conv(channels, width), body
        self.tail = nn.Sequential(conv(width, channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, x):
        x = self.head(x)
        return self.tail(x + self.body(x))


class RCAB(nn.Module):
    """Residual channel attention block (RCAN, ECCV 2018, figure 4)."""

    def __init__(self, c=8):
        super().__init__()
        self.body = nn.Sequential(conv(c, c), nn.ReLU(True), conv(c, c))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Sequential(conv(c, 4, 1), nn.ReLU(True), conv(4, c, 1), nn.Sigmoid())

    def forward(self, x):
        y = self.body(x)
        return x + y * self.gate(self.pool(y))


class IMDB(nn.Module):
    """Information multi-distillation block (IMDN, ACM MM 2019): fixed splits."""

    def __init__(self, c=8):
        super().__init__()
        self.kept = c // 4
        self.rest = c - self.kept
        self.c1, self.c2 = conv(c, c), conv(self.rest, c)
        self.c3, self.c4 = conv(self.rest, c), conv(self.rest, self.kept)
        self.cca = nn.Sequential(conv(c, 4, 1), nn.ReLU(), conv(4, c, 1), nn.Sigmoid())
        self.c5 = conv(c, c, 1)

    def forward(self, x):
        kept, y = [], x
        for layer in (self.c1, self.c2, self.c3):
            part, y = torch.split(F.leaky_relu(layer(y), 0.05), (self.kept, self.rest), dim=1)
            kept.append(part)
        y = torch.cat([*kept, self.c4(y)], 1)
        mean = y.mean((2, 3), keepdim=True)
        contrast = ((y - mean) ** 2).sum((2, 3), keepdim=True) / (y.shape[2] * y.shape[3])
        return x + self.c5(y * self.cca(contrast.sqrt() + mean))


class RFDB(nn.Module):
    """Residual feature distillation block with enhanced spatial attention (RFDN, ECCVW 2020)."""

    def __init__(self, c=8):
        super().__init__()
        d, f = c // 2, 4
        self.d1, self.r1, self.d2, self.r2 = conv(c, d, 1), conv(c, c), conv(c, d, 1), conv(c, c)
        self.last, self.fuse = conv(c, d), conv(3 * d, c, 1)
        self.e1, self.ef, self.e4 = conv(c, f, 1), conv(f, f, 1), conv(f, c, 1)
        self.e2, self.e3 = nn.Conv2d(f, f, 3, stride=2), conv(f, f)

    def forward(self, x):
        d1, r1 = F.leaky_relu(self.d1(x)), F.leaky_relu(self.r1(x) + x)
        d2, r2 = F.leaky_relu(self.d2(r1)), F.leaky_relu(self.r2(r1) + r1)
        y = self.fuse(torch.cat([d1, d2, F.leaky_relu(self.last(r2))], 1))
        e = self.e1(y)
        s = self.e3(F.max_pool2d(self.e2(e), kernel_size=7, stride=3))
        s = F.interpolate(s, (y.shape[2], y.shape[3]), mode="bilinear", align_corners=False)
        return x + y * torch.sigmoid(self.e4(s + self.ef(e)))


class LayerNorm2d(nn.Module):
    """Layer normalisation over channels, written out."""

    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        y = (x - mean) / ((x - mean).pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
        return self.weight.view(1, -1, 1, 1) * y + self.bias.view(1, -1, 1, 1)


class NAFBlock(nn.Module):
    """Simple gates, simplified channel attention, layer scale (NAFNet, ECCV 2022)."""

    def __init__(self, c=8):
        super().__init__()
        self.n1, self.n2 = LayerNorm2d(c), LayerNorm2d(c)
        self.c1, self.dw, self.c3 = (
            conv(c, 2 * c, 1),
            conv(2 * c, 2 * c, groups=2 * c),
            conv(c, c, 1),
        )
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(c, c, 1))
        self.c4, self.c5 = conv(c, 2 * c, 1), conv(c, c, 1)
        self.beta = nn.Parameter(torch.ones(1, c, 1, 1))
        self.gamma = nn.Parameter(torch.ones(1, c, 1, 1))

    @staticmethod
    def gate(x):
        a, b = x.chunk(2, dim=1)
        return a * b

    def forward(self, x):
        y = self.gate(self.dw(self.c1(self.n1(x))))
        x = x + self.c3(y * self.sca(y)) * self.beta
        return x + self.c5(self.gate(self.c4(self.n2(x)))) * self.gamma


class DenseBlock(nn.Module):
    """Residual dense block (RDN, CVPR 2018): concatenations, local fusion."""

    def __init__(self, c=8, growth=4, n=3):
        super().__init__()
        self.convs = nn.ModuleList(conv(c + i * growth, growth) for i in range(n))
        self.fuse = conv(c + n * growth, c, 1)

    def forward(self, x):
        features = [x]
        for layer in self.convs:
            features.append(F.relu(layer(torch.cat(features, 1))))
        return x + self.fuse(torch.cat(features, 1))


class SRResBlock(nn.Module):
    """SRResNet (CVPR 2017): batch normalisation and PReLU."""

    def __init__(self, c=8):
        super().__init__()
        self.body = nn.Sequential(
            conv(c, c, bias=False), nn.BatchNorm2d(c), nn.PReLU(), conv(c, c, bias=False),
            nn.BatchNorm2d(c),
        )  # fmt: skip

    def forward(self, x):
        return x + self.body(x)


class FSRCNN(nn.Module):
    """Shrink, map, expand, transposed convolution (ECCV 2016)."""

    def __init__(self, scale=2, d=8, s=4, channels=1):
        super().__init__()
        layers = [conv(channels, d, 5), nn.PReLU(d), conv(d, s, 1), nn.PReLU(s)]
        for _ in range(2):
            layers += [conv(s, s), nn.PReLU(s)]
        self.body = nn.Sequential(*layers, conv(s, d, 1), nn.PReLU(d))
        self.tail = nn.ConvTranspose2d(d, channels, 9, scale, 4, output_padding=scale - 1)

    def forward(self, x):
        return self.tail(self.body(x))


class ESPCN(nn.Module):
    """Sub-pixel convolution (CVPR 2016)."""

    def __init__(self, scale=3, channels=1):
        super().__init__()
        self.a, self.b = conv(channels, 8, 5), conv(8, 6)
        self.c, self.shuffle = conv(6, channels * scale**2), nn.PixelShuffle(scale)

    def forward(self, x):
        return self.shuffle(self.c(torch.tanh(self.b(torch.tanh(self.a(x))))))


class Cascade(nn.Module):
    """Cascading concatenations, shared residual block (CARN-M, ECCV 2018)."""

    def __init__(self, c=8):
        super().__init__()
        self.block = nn.Sequential(
            conv(c, c, groups=2), nn.ReLU(), conv(c, c, groups=2), nn.ReLU(), conv(c, c, 1)
        )
        self.fuse = nn.ModuleList(conv(c * (i + 2), c, 1) for i in range(3))

    def forward(self, x):
        seen = y = x
        for layer in self.fuse:
            seen = torch.cat([seen, F.relu(self.block(y) + y)], 1)
            y = layer(seen)
        return y


class MultiBranch(nn.Module):
    """3x3 + 1x1 + 1x1-3x3 + frozen edge filter + identity with BN (ECBSR, RepVGG)."""

    def __init__(self, c=8):
        super().__init__()
        self.k3, self.k1, self.squeeze = conv(c, c), conv(c, c, 1), conv(c, 2 * c, 1)
        self.expand, self.bn, self.act = conv(2 * c, c), nn.BatchNorm2d(c), nn.PReLU(c)
        self.edge_in, self.edge_scale = conv(c, c, 1), nn.Parameter(torch.ones(c, 1, 1))
        self.edge = conv(c, c, groups=c)

    def forward(self, x):
        edge = self.edge(self.edge_in(x)) * self.edge_scale
        return self.act(self.k3(x) + self.k1(x) + self.expand(self.squeeze(x)) + edge + self.bn(x))


class ConvNeXt(nn.Module):
    """Depthwise, layer norm over channels last, inverted bottleneck of linears (CVPR 2022)."""

    def __init__(self, c=8):
        super().__init__()
        self.dw, self.norm = conv(c, c, 7, groups=c), nn.LayerNorm(c)
        self.up, self.down = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
        self.gamma = nn.Parameter(torch.ones(c))

    def forward(self, x):
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        return x + (self.gamma * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


class UNet(nn.Module):
    """Two levels with skip concatenations."""

    def __init__(self, c=4, channels=3):
        super().__init__()
        self.e0, self.e1, self.e2 = conv(channels, c), conv(c, 2 * c), conv(2 * c, 4 * c)
        self.u1 = nn.ConvTranspose2d(4 * c, 2 * c, 2, stride=2)
        self.u0 = nn.ConvTranspose2d(2 * c, c, 2, stride=2)
        self.d1, self.d0, self.out = conv(4 * c, 2 * c), conv(2 * c, c), conv(c, channels)

    def forward(self, x):
        e0 = F.relu(self.e0(x))
        e1 = F.relu(self.e1(F.max_pool2d(e0, 2)))
        e2 = F.relu(self.e2(F.max_pool2d(e1, 2)))
        y = F.relu(self.d1(torch.cat([e1, self.u1(e2)], 1)))
        y = F.relu(self.d0(torch.cat([e0, self.u0(y)], 1)))
        return x + self.out(y)


class PadAndCrop(nn.Module):
    """Pads to a multiple of four, works at a quarter of the size, crops."""

    def __init__(self, c=8):
        super().__init__()
        self.down, self.mid, self.up = conv(3 * 16, c, 1), conv(c, c), conv(c, 3 * 16, 1)

    def forward(self, x):
        h, w = x.shape[-2:]
        y = F.pad(x, (0, -w % 4, 0, -h % 4), mode="reflect")
        y = F.pixel_unshuffle(y, 4)
        y = F.pixel_shuffle(self.up(F.relu(self.mid(self.down(y)))), 4)
        return x + y[:, :, :h, :w]


class WindowAttention(nn.Module):
    """Two heads over windows of 4x4 (SwinIR, ICCVW 2021)."""

    def __init__(self, c=8):
        super().__init__()
        self.qkv, self.proj = nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x):
        n, c, h, w = x.shape
        y = F.pad(x, (0, -w % 4, 0, -h % 4))
        rows, columns = y.shape[2] // 4, y.shape[3] // 4
        y = y.view(n, c, rows, 4, columns, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        q, k, v = self.qkv(y).reshape(-1, 16, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        y = self.proj(y.transpose(1, 2).reshape(-1, 16, c))
        y = y.view(n, rows, columns, 4, 4, c).permute(0, 5, 1, 3, 2, 4)
        return x + y.reshape(n, c, 4 * rows, 4 * columns)[..., :h, :w]


class FourierBlock(nn.Module):
    """A 1x1 convolution of the spectrum."""

    def __init__(self, c=8):
        super().__init__()
        self.mix = conv(2 * c, 2 * c, 1)

    def forward(self, x):
        s = torch.fft.rfft2(x)
        real, imag = self.mix(torch.cat([s.real, s.imag], 1)).chunk(2, 1)
        return torch.fft.irfft2(torch.complex(real, imag), s=x.shape[-2:])


class DataDependent(nn.Module):
    """Skips its layer on dark images."""

    def __init__(self, c=8):
        super().__init__()
        self.a, self.b = conv(c, c), conv(c, c)

    def forward(self, x):
        y = self.a(x)
        return self.b(y) if y.mean() > 0 else y


class ComputedWeight(nn.Module):
    """Weights modulated by the image."""

    def __init__(self, c=8):
        super().__init__()
        self.weight, self.modulate = nn.Parameter(torch.randn(c, c, 3, 3)), nn.Linear(c, c)

    def forward(self, x):
        style = self.modulate(x.mean((2, 3))).view(1, -1, 1, 1)
        return F.conv2d(x, self.weight * style, padding=1)


class Upsampling(nn.Module):
    """Samples twice as many points, at learned offsets (DySample, ICCV 2023), and goes back."""

    def __init__(self, c=8):
        super().__init__()
        self.offset, self.back = conv(c, 8, 1), conv(4 * c, c)

    def forward(self, x):
        n, _, h, w = x.shape
        offset = F.pixel_shuffle(0.25 * self.offset(x), 2)
        ys = torch.linspace(-1, 1, 2 * h).to(x)[None, None, :, None].expand(n, 1, 2 * h, 2 * w)
        xs = torch.linspace(-1, 1, 2 * w).to(x)[None, None, None, :].expand(n, 1, 2 * h, 2 * w)
        grid = torch.cat([xs, ys], 1) + offset / torch.tensor([w, h]).to(x).view(1, 2, 1, 1)
        y = F.grid_sample(x, grid.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
        return self.back(F.pixel_unshuffle(y, 2))


class Deformable(nn.Module):
    """Samples at offsets computed from the image."""

    def __init__(self, c=8):
        super().__init__()
        self.offset, self.mix = conv(c, 2), conv(c, c)

    def forward(self, x):
        grid = torch.tanh(self.offset(x)).permute(0, 2, 3, 1)
        return self.mix(F.grid_sample(x, grid, align_corners=False))
