"""The sparse path in operators that graph formats have: NonZero, Gather, MatMul, ScatterND.

What is wanted inside the mask is gathered from rows (one per pixel, channels-last) and multiplied;
what dense channels want everywhere stays an image and goes through small convolutions, which a
runtime computes best. A module decides by its own mask which form it takes
(:mod:`srdeploy.exporting.onnx.smsr`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.smsr.dense import DenseMasks, DenseModule, plain_conv
from srdeploy.models.smsr.network import SMSR
from srdeploy.models.smsr.pack import PackedModule, pack

SPARSE_BELOW = 0.4
"""Density below which a module gathers (measured with onnxruntime on a CPU, see
``benchmarks/results/smsr-onnx-*``)."""


class GatheredModule(nn.Module):
    """One sparse mask module whose layers compute at gathered pixels."""

    collect_sparse: Tensor
    bias: Tensor

    def __init__(self, packed: PackedModule) -> None:
        super().__init__()
        self.widths, self.dense = packed.widths, packed.dense
        self.everywhere = nn.ModuleList(
            [plain_conv(layer.outside) if layer.outside.numel() else nn.Identity()
             for layer in packed.layers]
        )  # fmt: skip
        known = packed.layers[0].inside.shape[1]
        for number, layer in enumerate(packed.layers):
            kernel = layer.inside
            if number == 0:
                kernel = kernel[packed.dense[0] :]  # its dense outputs are known everywhere already
            self._matrix(f"from_dense{number}", kernel[:, :known])
            self._matrix(f"from_sparse{number}", kernel[:, known:])
            known = packed.dense[number]
        columns = torch.arange(packed.collect.shape[1])
        pairs = zip(packed.widths, packed.dense, strict=True)
        is_dense = torch.cat([torch.arange(width) < dense for width, dense in pairs])
        collect = packed.collect
        self.register_buffer("collect_sparse", collect[:, columns[~is_dense]].t().contiguous())
        weight = collect[:, columns[is_dense]][:, :, None, None]
        self.collect_dense: nn.Module | None = None
        if weight.numel():
            self.collect_dense = plain_conv(weight, padding=0)
        self.register_buffer("bias", packed.collect_bias[:, None, None].clone())
        self.attention = packed.attention

    def _matrix(self, name: str, kernel: Tensor) -> None:
        """Register a 3x3 kernel ``[n_out, n_in, 3, 3]`` as ``[9 * n_in, n_out]``."""
        n_out, n_in = kernel.shape[:2]
        matrix = kernel.permute(2, 3, 1, 0).reshape(9 * n_in, n_out).contiguous()
        self.register_buffer(name, matrix)

    def masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features ``[N, C, H, W]`` under a mask ``[N, 1, H, W]`` to the same."""
        n, c, h, w = x.shape
        line = w + 2
        inside = functional.pad(mask, (1, 1, 1, 1)).reshape(-1)
        at = torch.nonzero(inside)
        taps = torch.tensor([-1, 0, 1])
        around = at + (taps[:, None] * line + taps).reshape(1, 9)
        inside = inside.to(torch.int64)
        among = (torch.cumsum(inside, 0) * inside)[around]  # row 0 is for pixels outside

        sparse: list[Tensor] = []  # what was computed at the listed pixels, for the 1x1 convolution
        dense: list[Tensor] = []  # what is known everywhere, as images
        known: Tensor | None = x
        previous: Tensor | None = None  # the layer before's sparse channels
        for number, n_dense in enumerate(self.dense):
            terms = []
            if known is not None:
                terms += self._gather(_rows(known), around, "dense", number)
            if previous is not None:
                rows = torch.cat([torch.zeros_like(previous[:1]), previous])
                terms += self._gather(rows, among, "sparse", number)
            y = functional.relu(sum(terms[1:], terms[0])) if terms else None
            everywhere = None
            if n_dense:
                everywhere = self._everywhere(number, known, (n, n_dense, h, w), x)
                if number:  # inside the mask, sparse inputs have their say
                    assert y is not None
                    everywhere = _put(_rows(everywhere), at, y[:, :n_dense], (n, h, w))
                    y = y[:, n_dense:] if self.widths[number] > n_dense else None
                dense.append(everywhere)
            known, previous = everywhere, y
            if y is not None:
                sparse.append(y)
        out = self.bias
        if sparse:
            found = torch.cat(sparse, 1) @ self.collect_sparse
            out = out + _put(x.new_zeros(n * (h + 2) * line, c), at, found, (n, h, w))
        if self.collect_dense is not None:
            out = out + self.collect_dense(torch.cat(dense, 1))
        return x + out * self.attention(out.mean((2, 3), keepdim=True))

    def _everywhere(
        self, number: int, known: Tensor | None, shape: tuple[int, ...], like: Tensor
    ) -> Tensor:
        """A layer's dense outputs from dense inputs, ``shape``."""
        layer = self.everywhere[number]
        if isinstance(layer, nn.Identity):  # there is no dense input
            return like.new_zeros(shape)
        assert known is not None
        return functional.relu(layer(known))

    def _gather(self, rows: Tensor, at: Tensor, kind: str, number: int) -> list[Tensor]:
        """Patches of ``rows`` at ``[pixels, 9]``, times the layer's matrix; [] if it is empty."""
        weight = getattr(self, f"from_{kind}{number}")
        if not weight.numel():
            return []
        return [rows[at].reshape(at.shape[0], weight.shape[0]) @ weight]


def _rows(x: Tensor) -> Tensor:
    """An image ``[N, C, H, W]`` as rows ``[N * (H + 2) * (W + 2), C]``, inside a zero border."""
    return functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).reshape(-1, x.shape[1])


def _put(rows: Tensor, at: Tensor, values: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Rows as an image again, ``values`` having been put in at ``[pixels, 1]``."""
    n, h, w = size
    image = rows.index_put((at[:, 0],), values).reshape(n, h + 2, w + 2, rows.shape[1])
    return image[:, 1:-1, 1:-1].permute(0, 3, 1, 2)


class _Masked(torch.autograd.Function):
    """Stands, in a trace, for a module that comes in two branches."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, number: int) -> Tensor:
        """As good as any: shapes are what a trace is after."""
        return x + mask

    @staticmethod
    def symbolic(g: Any, x: Any, mask: Any, number: int) -> Any:
        """A node that the exporter replaces."""
        return g.op(MASKED, x, mask, number_i=number).setType(x.type())


MASKED = "srdeploy::Masked"
"""Operator that :class:`Traceable` leaves in a graph: features and mask to features."""


class _Place(nn.Module):
    def __init__(self, module: DenseModule, number: int) -> None:
        super().__init__()
        self.spa_mask, self.number = module.spa_mask, number

    def forward(self, x: Tensor) -> Tensor:
        return _Masked.apply(x, self.spa_mask(x), self.number)


class Traceable(nn.Module):
    """SMSR for export: the masked layers of each module are one node, to be replaced by branches.

    Attributes:
        gathered: Their sparse form, per module.
        dense: Their dense form, per module.
        channels: Channels of the features between modules.
    """

    def __init__(self, network: SMSR) -> None:
        super().__init__()
        self.frame = DenseMasks(network)
        self.gathered = [GatheredModule(packed).eval() for packed in pack(network)]
        self.dense = [module for module in self.frame.body if isinstance(module, DenseModule)]
        places = [_Place(module, number) for number, module in enumerate(self.dense)]
        self.frame.body = nn.ModuleList(places)
        last = network.head[2]
        assert isinstance(last, nn.Conv2d)
        self.channels = last.out_channels
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] to [N, 3, H*scale, W*scale] in shape, not in value: only to be traced."""
        return self.frame(x)
