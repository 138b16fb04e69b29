"""Dense-with-masks: everything is computed everywhere, then masked. Shapes are static.

This is the form for exports and for processors that cannot skip. It equals
:class:`srdeploy.models.smsr.network.SMSR` at half the work: that module runs dense and sparse
inputs of a layer through two full convolutions; here packed channels
(:mod:`srdeploy.models.smsr.pack`) leave one full convolution and the small corner that is wanted
outside the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.network import Network
from srdeploy.models.smsr.network import SMSR, Bicubic, SMSRForm
from srdeploy.models.smsr.pack import PackedLayer, PackedModule, pack


def plain_conv(kernel: Tensor, bias: Tensor | None = None, padding: int = 1) -> nn.Conv2d:
    """A convolution with copies of given weights ``[n_out, n_in, k, k]``, not to be trained."""
    n_out, n_in, size = kernel.shape[:3]
    layer = nn.Conv2d(n_in, n_out, size, padding=padding, bias=bias is not None)
    layer.weight = nn.Parameter(kernel.clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return layer


class MaskBranch(nn.Module):
    """Features to the spatial mask."""

    def __init__(self, packed: PackedModule) -> None:
        super().__init__()
        self.first, self.second = packed.mask_layers[:2]
        weight, bias = packed.mask_difference()
        last = packed.mask_layers[2]
        self.last = nn.ConvTranspose2d(
            last.in_channels, 1, 3, stride=2, padding=1, output_padding=1
        )
        self.last.weight = nn.Parameter(weight, requires_grad=False)
        self.last.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, 1, H, W]``: 1 inside, 0 outside."""
        y = functional.avg_pool2d(functional.relu(self.first(x)), 2, ceil_mode=True)
        logit = self.last(functional.relu(self.second(y)))[..., : x.shape[-2], : x.shape[-1]]
        return (logit > 0).to(y.dtype)


class DenseModule(nn.Module):
    """One sparse mask module, computed everywhere.

    Attributes:
        unmasked: No channel is sparse, so the spatial mask has no say and is not computed: some
            converters would leave it out by themselves, and what they wrote is compared with this.
    """

    def __init__(self, packed: PackedModule) -> None:
        super().__init__()
        self.spa_mask = MaskBranch(packed)
        self.inside = nn.ModuleList([plain_conv(layer.inside) for layer in packed.layers])
        self.outside = nn.ModuleDict(
            {
                str(number): plain_conv(layer.outside)
                for number, layer in enumerate(packed.layers)
                if number and layer.outside.numel() and not _all_dense(layer)
            }
        )
        self.dense = packed.dense
        self.unmasked = packed.dense == packed.widths
        self.dense_before = [packed.layers[0].inside.shape[1], *packed.dense[:-1]]
        self.collect = plain_conv(packed.collect[:, :, None, None], packed.collect_bias, padding=0)
        self.attention = packed.attention

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        return self.masked(x, x[:, :1] if self.unmasked else self.spa_mask(x))

    def masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """The same, with the mask ``[N, 1, H, W]`` known (anything where :attr:`unmasked`)."""
        outs: list[Tensor] = []
        for number, layer in enumerate(self.inside):
            y = functional.relu(layer(outs[-1] if outs else x))
            outs.append(self._mask(number, y, outs[-1] if outs else x, mask))
        y = self.collect(torch.cat(outs, 1))
        return x + y * self.attention(y.mean((2, 3), keepdim=True))

    def _mask(self, number: int, y: Tensor, before: Tensor, mask: Tensor) -> Tensor:
        """``y`` inside the mask; outside, what dense inputs give dense outputs."""
        dense, known = self.dense[number], self.dense_before[number]
        if known == before.shape[1]:  # all inputs are known everywhere: dense outputs need no mask
            if dense == 0:
                return y * mask
            return torch.cat([y[:, :dense], y[:, dense:] * mask], 1) if dense < y.shape[1] else y
        y = y * mask
        if str(number) not in self.outside:
            return y  # no dense output, or no dense input for it: nothing outside
        outside = functional.relu(self.outside[str(number)](before[:, :known])) * (1 - mask)
        if dense == y.shape[1]:
            return y + outside
        return torch.cat([y[:, :dense] + outside, y[:, dense:]], 1)


def _all_dense(layer: PackedLayer) -> bool:
    """Whether the corner is the whole kernel."""
    return layer.outside.shape == layer.inside.shape


class BicubicConv(nn.Module):
    """torch's bicubic upsampling (a = -0.75, no aligned corners) by a whole factor, as a
    convolution with fixed weights and a PixelShuffle: for formats that lack it.
    """

    weight: Tensor

    def __init__(self, scale: int, channels: int = 3) -> None:
        super().__init__()
        self.scale, self.channels = scale, channels
        impulse = torch.zeros(1, 1, 11, 11)
        impulse[0, 0, 5, 5] = 1  # its picture, phase by phase and mirrored, is the kernel
        picture = functional.interpolate(
            impulse, scale_factor=scale, mode="bicubic", align_corners=False
        )
        phases = functional.pixel_unshuffle(picture, scale)[0, :, 3:8, 3:8].flip(1, 2)
        kernel = phases[:, None].repeat(channels, 1, 1, 1)
        self.register_buffer("weight", kernel.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """``[N, channels, H, W]`` to ``[N, channels, H * scale, W * scale]``."""
        x = functional.pad(x, (2, 2, 2, 2), mode="replicate")
        y = functional.conv2d(x, self.weight, groups=self.channels)
        return functional.pixel_shuffle(y, self.scale)


class DenseMasks(SMSRForm):
    """SMSR in its dense-with-masks form, for inference: same numbers, static shapes.

    Args:
        network: The network; its plain layers are shared.
        portable: Write the bicubic upsampling as a convolution.
    """

    def __init__(self, network: SMSR, portable: bool = False) -> None:
        super().__init__(network.scale, network.mean is not None, network.value_range)
        if network.mean is not None:
            self.sub_mean, self.add_mean = network.sub_mean, network.add_mean
        self.head, self.collect, self.tail = network.head, network.collect, network.tail
        self.body = nn.ModuleList([DenseModule(packed) for packed in pack(network)])
        self.upscale = BicubicConv(network.scale) if portable else Bicubic(network.scale)
        self.pooled_field = network.pooled_field
        self.eval()


def dense_masks(network: Network, portable: bool = False) -> Network:
    """An SMSR network whose module is the dense-with-masks form."""
    assert isinstance(network.module, SMSR)
    return Network(DenseMasks(network.module, portable), network.card)
