"""SMSR: Wang et al., "Exploring Sparsity in Image Super-Resolution for Efficient Inference",
CVPR 2021.

Each sparse mask module predicts, per image, at which pixels it has to compute (the spatial mask),
and holds, per layer, which output channels are *dense* (computed everywhere) and which *sparse*
(computed inside the spatial mask only). Channel masks are parameters, so they are constant after
training; :mod:`srdeploy.models.smsr.pack` splits the layers by them. The module here is the plain
form: every channel is computed everywhere and multiplied by its mask. It trains, it can be pruned,
and the fast forms are checked against it.

Where the published code is at fault, the paper's way is taken: the softmax temperature really falls
(:attr:`SMSR.temperature`), the input of a layer is split by the masks of the layer before it in
training as in inference, any image size works (the published mask branch needs even sides), and so
do batches, empty masks and layers with no dense or no sparse channel.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.attention import ChannelAttention
from srdeploy.models.layers import ColourNetwork, conv3x3
from srdeploy.models.smsr.reach import pooled_field


class ChannelMask(nn.Module):
    """Which output channels of one layer are dense and which sparse.

    Two logits per channel, ``dense`` and ``sparse``, each ``[1, C, 1, 1]``. They are apart from
    each other and from the other layers' so that each layer may keep channels of its own.
    """

    def __init__(self, n_feats: int) -> None:
        super().__init__()
        self.dense = nn.Parameter(torch.empty(1, n_feats, 1, 1))
        self.sparse = nn.Parameter(torch.empty(1, n_feats, 1, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in 0..1, as published."""
        nn.init.uniform_(self.dense)
        nn.init.uniform_(self.sparse)

    def forward(self, temperature: float | None = None) -> Tensor:
        """Share of "sparse" per channel, ``[1, C, 1, 1]``: 0 or 1 without a temperature."""
        return choose(self.dense, self.sparse, temperature)


def choose(first: Tensor, second: Tensor, temperature: float | None) -> Tensor:
    """The share of the second of two options.

    Without a temperature it is 1 where its logit is larger, else 0, and has no gradient. With one
    it is a sample of the Gumbel softmax (paper, eq. 1; Jang et al., ICLR 2017) of the two: the
    difference of two Gumbel variables is logistic, so one draw serves both.

    Args:
        first: Logits of the first option.
        second: Logits of the second, of the same shape.
        temperature: Of the softmax, above 0; None for the hard choice.
    """
    if temperature is None:
        return (second > first).to(second.dtype)
    logits = (second - first).float()
    noise = torch.rand_like(logits).clamp_(1e-7, 1 - 1e-7)
    return torch.sigmoid((logits + torch.logit(noise)) / temperature).to(second.dtype)


class SparseLayers(nn.Module):
    """The body of a sparse mask module: bias-free 3x3 convolutions under masks, then a 1x1.

    All layers' outputs are concatenated before the 1x1 convolution (paper, fig. 3).

    Attributes:
        masked: False to compute each layer once and everywhere, as if every channel were dense.
    """

    masked = True

    def __init__(self, n_feats: int, n_layers: int) -> None:
        super().__init__()
        self.ch_mask = nn.ModuleList([ChannelMask(n_feats) for _ in range(n_layers)])
        self.body = nn.ModuleList([conv3x3(n_feats, n_feats, False) for _ in range(n_layers)])
        self.collect = nn.Conv2d(n_feats * n_layers, n_feats, 1)

    def forward(self, x: Tensor, mask: Tensor, sparse: list[Tensor]) -> Tensor:
        """Compute everything, mask what would not have been computed (paper, eqs. 3 and 4).

        Args:
            x: ``[N, C, H, W]``; every channel of it is known everywhere.
            mask: Spatial mask ``[N, 1, H, W]``.
            sparse: Share of "sparse" of each layer's output channels, ``[1, C, 1, 1]``.

        Returns:
            ``[N, C, H, W]``.
        """
        outs: list[Tensor] = []
        for layer, is_sparse in zip(self.body, sparse, strict=True):
            where = 1 - is_sparse + is_sparse * mask  # dense channels everywhere
            if not self.masked:
                y = layer(outs[-1] if outs else x)
            elif not outs:
                y = layer(x) * where
            else:
                before, was_sparse = outs[-1], sparse[len(outs) - 1]
                known = layer(before * (1 - was_sparse))
                # What sparse channels hold counts inside the mask only, whatever it flows into.
                y = known * where + layer(before * was_sparse) * mask
            outs.append(functional.relu(y))
        return self.collect(torch.cat(outs, 1))


class SparseMaskModule(nn.Module):
    """One SMM: spatial mask branch, masked layers, channel attention, skip.

    Attributes:
        temperature: Of the Gumbel softmax in training mode; None for the hard masks of inference,
            which evaluation mode always has. Hard masks have no gradient.
    """

    def __init__(self, n_feats: int, n_layers: int, mask_feats: int, reduction: int) -> None:
        super().__init__()
        self.spa_mask = nn.Sequential(
            conv3x3(n_feats, mask_feats),
            nn.ReLU(),
            # Odd sides: the last window averages what there is, which is edge padding.
            nn.AvgPool2d(2, ceil_mode=True),
            conv3x3(mask_feats, mask_feats),
            nn.ReLU(),
            nn.ConvTranspose2d(mask_feats, 2, 3, stride=2, padding=1, output_padding=1),
        )
        self.body = SparseLayers(n_feats, n_layers)
        self.ca = ChannelAttention(n_feats, reduction)
        self.temperature: float | None = None

    def mask(self, x: Tensor, temperature: float | None = None) -> Tensor:
        """Spatial mask ``[N, 1, H, W]`` of features ``[N, C, H, W]``: 1 where to compute."""
        logits = self.spa_mask(x)[..., : x.shape[-2], : x.shape[-1]]
        return choose(logits[:, :1], logits[:, 1:], temperature)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        temperature = self.temperature if self.training else None
        mask = self.mask(x, temperature)
        sparse = [channels(temperature) for channels in self.body.ch_mask]
        return x + self.ca(self.body(x, mask, sparse))


def computed_fraction(mask: Tensor, sparse: list[Tensor]) -> Tensor:
    """What of each layer has to be computed, 0..1, ``[n_layers]``.

    The mean over output channels, pixels and images: dense channels count fully, sparse ones
    inside the mask (paper, eq. 5; differentiable).

    Args:
        mask: ``[N, 1, H, W]``.
        sparse: Share of "sparse" per layer, ``[1, C, 1, 1]``.
    """
    inside = mask.float().mean()
    shares = torch.stack([share.float().mean() for share in sparse])
    return 1 - shares * (1 - inside)


class Bicubic(nn.Module):
    """torch's bicubic upsampling by a whole factor (a = -0.75, corners not aligned)."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to ``[N, C, H * scale, W * scale]``."""
        return functional.interpolate(
            x, scale_factor=self.scale, mode="bicubic", align_corners=False
        )


class SMSRForm(ColourNetwork):
    """What every form of SMSR computes around its sparse mask modules.

    A subclass adds ``head``, ``body`` (the modules), ``collect``, ``tail`` and ``upscale``, and
    ``pooled_field`` (:func:`srdeploy.models.smsr.reach.pooled_field`).
    """

    head: nn.Sequential
    body: nn.ModuleList
    collect: nn.Sequential
    tail: nn.Sequential
    upscale: nn.Module
    pooled_field: int

    @property
    def receptive_field(self) -> int:
        """0: channel attention sees the whole image."""
        return 0

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] in 0..value_range to [N, 3, H*scale, W*scale]; any H and W."""
        if self.mean is not None:
            x = self.sub_mean(x)
        head = y = self.head(x)
        outs: list[Tensor] = []
        for module in self.body:
            y = module(y)
            outs.append(y)
        y = self.tail(self.collect(torch.cat(outs, 1)) + head) + self.upscale(x)
        return y if self.mean is None else self.add_mean(y)


class SMSR(SMSRForm):
    """SMSR; the defaults are the published network.

    Args:
        scale: 2, 3 or 4 (or 8).
        n_modules: Sparse mask modules.
        n_layers: Masked convolutions in each.
        n_feats: Channels.
        mask_feats: Channels inside the mask branch.
        reduction: Narrowing of the channel attention.
        mean_shift: Subtract the DIV2K mean at the input and add it back at the output.
        value_range: Pixel values run from 0 to this.
    """

    def __init__(
        self,
        scale: int = 2,
        n_modules: int = 5,
        n_layers: int = 4,
        n_feats: int = 64,
        mask_feats: int = 16,
        reduction: int = 16,
        mean_shift: bool = True,
        value_range: float = 255.0,
    ) -> None:
        super().__init__(scale, mean_shift, value_range)
        self.head = nn.Sequential(
            conv3x3(3, n_feats), nn.ReLU(inplace=True), conv3x3(n_feats, n_feats)
        )
        self.body = nn.ModuleList(
            [SparseMaskModule(n_feats, n_layers, mask_feats, reduction) for _ in range(n_modules)]
        )
        self.collect = nn.Sequential(
            nn.Conv2d(n_feats * n_modules, n_feats, 1),
            nn.ReLU(inplace=True),
            conv3x3(n_feats, n_feats),
        )
        self.tail = nn.Sequential(conv3x3(n_feats, 3 * scale**2), nn.PixelShuffle(scale))
        self.upscale = Bicubic(scale)
        self.pooled_field = pooled_field(n_modules, n_layers)

    def mask_modules(self) -> Iterator[SparseMaskModule]:
        """The sparse mask modules in order."""
        for module in self.body:
            assert isinstance(module, SparseMaskModule)
            yield module

    @property
    def temperature(self) -> float | None:
        """Temperature of all modules' masks in training mode (None: hard masks); settable."""
        return next(self.mask_modules()).temperature

    @temperature.setter
    def temperature(self, value: float | None) -> None:
        if value is not None and value <= 0:
            raise ValueError(f"a temperature is above 0, got {value}")
        for module in self.mask_modules():
            module.temperature = value

    def without_masks(self) -> SMSR:
        """A copy that computes every layer once and everywhere: what tables call its dense MACs."""
        dense = copy.deepcopy(self)
        for module in dense.mask_modules():
            module.body.masked = False
        return dense
