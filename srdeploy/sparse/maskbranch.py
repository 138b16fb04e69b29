"""The branch that predicts a spatial mask, on rows."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from srdeploy.models.smsr.pack import PackedModule
from srdeploy.sparse.backend import Backend
from srdeploy.sparse.plain import Conv3x3
from srdeploy.sparse.rowconv import Features, RowConv, Tap, aligned, spatial
from srdeploy.sparse.workspace import Workspace


class RowMaskBranch:
    """conv, ReLU, 2x2 mean, conv, ReLU, transposed conv: features to a mask.

    Attributes:
        first: The convolution at full size.
        decide: Logits to mask, bool of the same shape; may be replaced, to study given masks.
    """

    def __init__(self, backend: Backend, packed: PackedModule) -> None:
        first, second, _ = packed.mask_layers
        self.first = Conv3x3.of(backend, first, relu=True)
        self._width = first.out_channels
        self._pool = backend.prepare(_mean_of_four(first.out_channels))
        bias = None if second.bias is None else second.bias.detach()
        self._second = backend.prepare(spatial(second.weight.detach(), bias, relu=True))
        self._second_width = second.out_channels
        self.decide: Callable[[Tensor], Tensor] = lambda logit: logit > 0
        self._last = backend.prepare(four_phases(*packed.mask_difference()))

    def __call__(self, space: Workspace, half: HalfSize, x: Tensor, form: str) -> Tensor:
        """Which pixels of features ``[rows, width]`` are inside: bool ``[pixels]``."""
        y = space.plane("mask", aligned(self._width))
        self.first(space, x, y, form)
        _repeat_odd_edges(space.image(y), space.height, space.width)
        small, inner = half.space, half.space.line
        pooled = small.plane("pooled", aligned(self._width))
        self._pool([Features(y)], half.corners, space.line, Features(pooled, half.places))
        deep = small.plane("second", aligned(self._second_width))
        self._second([Features(pooled)], small.rows, inner, Features(deep))
        phases = small.plane("logit", aligned(4))
        self._last([Features(deep)], small.rows, inner, Features(phases))
        logit = torch.pixel_shuffle(small.inner(phases, 4), 2)
        return self.decide(logit[0, 0, : space.height, : space.width]).flatten().bool()


class HalfSize:
    """An image and the one half as large: which pixels the small one's come from.

    Attributes:
        space: Rows of the small image.
        corners: Rows, in the large image, of the first pixel of every 2x2 window.
        places: From those to the small image's rows.
    """

    def __init__(self, large: Workspace, small: Workspace) -> None:
        self.space = small
        grid = large.rows.view(large.height, large.width)
        self.corners = grid[::2, ::2].flatten()
        self.places = torch.zeros(large.n_rows, dtype=torch.int32)
        self.places[self.corners.long()] = small.rows


def _mean_of_four(channels: int) -> RowConv:
    taps = tuple(Tap(0, dy, dx, 0, channels) for dy in (0, 1) for dx in (0, 1))
    return RowConv(taps, torch.eye(channels).repeat(4, 1) / 4)


def four_phases(weight: Tensor, bias: Tensor) -> RowConv:
    """A transposed convolution (3x3, stride 2, padding 1, output padding 1) to one channel.

    It is a 2x2 convolution with four outputs, one per place in a 2x2 window, then PixelShuffle: an
    even line comes from the middle of the kernel, an odd one from its end here and its start below.
    """
    kernel = weight.new_zeros(4, weight.shape[0], 2, 2)
    reach = {0: {0: 1}, 1: {0: 2, 1: 0}}  # odd line? -> lines below -> line of the kernel
    for py in (0, 1):
        for px in (0, 1):
            for ty, ky in reach[py].items():
                for tx, kx in reach[px].items():
                    kernel[2 * py + px, :, ty, tx] = weight[:, 0, ky, kx]
    return spatial(kernel, bias.expand(4).contiguous(), origin=0)


def _repeat_odd_edges(image: Tensor, height: int, width: int) -> None:
    """Where a side is odd, the last window averages what there is: as if its edge were repeated."""
    if width % 2:
        image[:, width + 1] = image[:, width]
    if height % 2:
        image[height + 1] = image[height]
