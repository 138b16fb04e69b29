"""One sparse mask module on rows: what is inside the mask, what is outside, and the attention.

Inside, one product gives all of a layer's outputs, which lie one behind the other; outside, a
small one gives the dense outputs from dense inputs, at their pixels. Dense outputs from inside are
written there too, for the neighbours outside.

The channel attention costs no pass over the features: the mean of a 1x1 convolution's output
follows from the means of its inputs, which the layers add up as they go. So its factors are known
before that convolution runs, and are applied inside it, together with the skip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from srdeploy.models.smsr.dense import DenseModule
from srdeploy.models.smsr.pack import PackedModule
from srdeploy.models.whole_means import Core, WholeMeans
from srdeploy.sparse.backend import Backend
from srdeploy.sparse.rowconv import Features, PreparedConv, aligned, pointwise, spatial
from srdeploy.sparse.workspace import Workspace


@dataclass(frozen=True)
class _Layer:
    inside: PreparedConv
    outside: PreparedConv
    width: int
    dense: int


class RowModule:
    """A module's masked layers in both forms.

    Attributes:
        name: Its name in the network.
        n_layers: How many masked layers it has.
        macs_inside: Multiplications at a pixel inside the mask.
        macs_outside: At one outside.
        means: What the attention's means are exchanged with; None: they are those of the image.
    """

    means: WholeMeans | None = None

    def __init__(self, backend: Backend, packed: PackedModule, name: str) -> None:
        self.name = name
        self.layers: list[_Layer] = []
        known: int | None = None  # dense inputs; None: the module's own input, all in one source
        for layer in packed.layers:
            inside = spatial(layer.inside, relu=True, split=known)
            outside = spatial(layer.outside, relu=True)
            width, dense = layer.inside.shape[0], layer.outside.shape[0]
            self.layers.append(
                _Layer(backend.prepare(inside), backend.prepare(outside), width, dense)
            )
            known = dense
        self.n_layers = len(self.layers)
        self._weight, self._bias = packed.collect, packed.collect_bias
        self._attention = packed.attention
        self._inside = backend.prepare(pointwise(packed.collect, packed.widths, self._bias))
        columns = packed.collect[:, _dense_columns(packed)]
        self._outside = backend.prepare(pointwise(columns, packed.dense, self._bias))
        self.macs_inside = sum(layer.inside.numel() for layer in packed.layers)
        self.macs_inside += packed.collect.numel()
        self.macs_outside = sum(layer.outside.numel() for layer in packed.layers) + columns.numel()
        self._everywhere = DenseModule(packed)
        self._everywhere.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def dense(self, space: Workspace, x: Tensor, out: Tensor, inside: Tensor) -> None:
        """Compute everywhere with the library's convolutions, then mask.

        Args:
            space: The image's rows.
            x: Features ``[rows, width]``.
            out: Result, as ``x``.
            inside: bool ``[pixels]``.
        """
        mask = inside.view(1, 1, space.height, space.width).to(x.dtype)
        channels = self._weight.shape[0]
        image = space.inner(x, channels).contiguous(memory_format=torch.channels_last)
        space.inner(out, channels).copy_(self._everywhere.masked(image, mask))

    def rows(self, space: Workspace, x: Tensor, out: Tensor, inside: Tensor) -> None:
        """Compute what the mask asks for; arguments as for :meth:`dense`."""
        listed, others = space.rows.masked_select(inside), space.rows.masked_select(~inside)
        count, line = listed.shape[0], space.line
        space.places.zero_()
        space.places[listed.long()] = torch.arange(1, count + 1, dtype=torch.int32)
        width = aligned(max(layer.width for layer in self.layers))
        sums = torch.zeros(self.n_layers, width, dtype=torch.float64)
        within: list[Features] = []
        dense: list[Features] = []
        for number, layer in enumerate(self.layers):
            sources = [dense[-1], within[-1]] if within else [Features(x)]
            now = space.compact(f"inside{number}", count, aligned(layer.width))
            there = Features(space.plane(f"dense{number}", aligned(layer.dense)))
            added = sums[number]
            also = there.data if layer.dense else None
            layer.inside(sources, listed, line, now, also=also, sums=added)
            layer.outside(sources[:1], others, line, there, sums=added)
            within.append(now)
            dense.append(there)
        mean = self._mean(sums, space.rows.shape[0])
        if self.means is not None:
            mean = self.means.exchange(
                (space.height, space.width),
                lambda core: self._core_sums(space, core, inside, within, dense),
            )
        scale = self._factors(mean, out.shape[1])
        target = Features(out)
        self._inside(within, listed, line, target, scale=scale, residual=x)
        self._outside(dense, others, line, target, scale=scale, residual=x)

    def _mean(self, sums: Tensor, pixels: int) -> NDArray[np.float64]:
        """The mean of what the 1x1 convolution gives, from the sums of the layers' outputs."""
        inputs = torch.cat([s[: layer.width] for s, layer in zip(sums, self.layers, strict=True)])
        mean = torch.mv(self._weight.double(), inputs / pixels) + self._bias
        return mean.numpy()

    def _core_sums(
        self,
        space: Workspace,
        core: Core,
        inside: Tensor,
        within: list[Features],
        dense: list[Features],
    ) -> NDArray[np.float64]:
        """The sums of what the 1x1 convolution gives in a part of the image."""
        wanted = torch.zeros(space.height, space.width, dtype=torch.bool)
        wanted[core] = True
        count = int(wanted.sum())
        listed = torch.nonzero(wanted.flatten()[inside]).flatten() + 1
        sums = torch.zeros(self.n_layers, max(layer.width for layer in self.layers))
        sums = sums.double()
        for total, layer, now, there in zip(sums, self.layers, within, dense, strict=True):
            known = layer.dense
            part = space.inner(there.data, known)[0][:, core[0], core[1]]
            total[:known] = part.sum((1, 2), dtype=torch.float64)
            sparse = now.data[listed, known : layer.width]
            total[known : layer.width] = sparse.sum(0, dtype=torch.float64)
        return self._mean(sums, count) * count

    def _factors(self, mean: NDArray[np.float64], width: int) -> Tensor:
        """The channel attention's factors."""
        given = torch.from_numpy(mean).to(self._bias.dtype)
        factors = self._attention(given[None, :, None, None]).flatten()
        return functional.pad(factors, (0, width - factors.shape[0]))


def _dense_columns(packed: PackedModule) -> Tensor:
    """Which inputs of the 1x1 convolution are dense, bool."""
    pairs = zip(packed.widths, packed.dense, strict=True)
    return torch.cat([torch.arange(width) < dense for width, dense in pairs])
