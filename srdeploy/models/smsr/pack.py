"""Static compaction: SMSR's channel masks are constant after training, so weights are split once.

The output channels of every masked layer are reordered, dense ones first; the next layer's inputs
and the module's 1x1 convolution follow. A layer then has two matrices. Inside the spatial mask
every output is wanted and every input is known: the whole kernel. Outside, sparse inputs are zero
and sparse outputs not wanted: the corner from dense inputs to dense outputs. Both read and write
the same features, in which sparse channels are zero outside the mask.

(Paper, section 3.2: four kernels, dense or sparse to dense or sparse, of which three are only ever
used together.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srdeploy.models.smsr.network import SMSR, SparseMaskModule


@dataclass(frozen=True)
class PackedLayer:
    """One masked 3x3 convolution, without bias, ReLU behind it.

    Attributes:
        inside: Kernel inside the mask, ``[n_out, n_in, 3, 3]``; dense channels first on both sides.
        outside: Kernel outside, ``[n_dense_out, n_dense_in, 3, 3]``: a corner of ``inside``.
    """

    inside: Tensor
    outside: Tensor


@dataclass(frozen=True)
class PackedModule:
    """One sparse mask module, its channels sorted.

    Attributes:
        layers: The masked convolutions.
        collect: ``[n_feats, sum of n_out]``, columns in the layers' new order.
        collect_bias: ``[n_feats]``.
        attention: The squeeze-and-excitation layers, ``[N, C, 1, 1]`` means to factors.
        mask_layers: The mask branch's convolution, convolution and transposed convolution.
    """

    layers: tuple[PackedLayer, ...]
    collect: Tensor
    collect_bias: Tensor
    attention: nn.Module
    mask_layers: tuple[nn.Conv2d, nn.Conv2d, nn.ConvTranspose2d]

    @property
    def widths(self) -> list[int]:
        """Output channels of each layer."""
        return [layer.inside.shape[0] for layer in self.layers]

    @property
    def dense(self) -> list[int]:
        """How many of them are dense: the first ones."""
        return [layer.outside.shape[0] for layer in self.layers]

    def mask_difference(self) -> tuple[Tensor, Tensor]:
        """Weight ``[C, 1, 3, 3]`` and bias ``[1]`` of the transposed convolution, as one logit.

        A pixel is inside where the second logit exceeds the first: where their difference is
        positive, which one output channel can tell.
        """
        last = self.mask_layers[2]
        assert last.bias is not None
        weight, bias = last.weight.detach(), last.bias.detach()
        return (weight[:, 1:] - weight[:, :1]).contiguous(), bias[1:] - bias[:1]


def pack(network: SMSR) -> list[PackedModule]:
    """Split every sparse mask module of a trained network by its channel masks."""
    with torch.no_grad():
        return [_pack_module(module) for module in network.mask_modules()]


def _pack_module(module: SparseMaskModule) -> PackedModule:
    body = module.body
    layers, columns, first = [], [], 0
    order: Tensor | None = None  # the module's input keeps its order and is dense throughout
    dense_before: int | None = None
    for layer, channels in zip(body.body, body.ch_mask, strict=True):
        assert isinstance(layer, nn.Conv2d)
        is_sparse = channels().flatten().bool()
        rows = torch.argsort(is_sparse.int(), stable=True)
        dense = int((~is_sparse).sum())
        kernel = layer.weight.detach()[rows]
        if order is not None:
            kernel = kernel[:, order]
        known = kernel.shape[1] if dense_before is None else dense_before
        layers.append(PackedLayer(kernel.contiguous(), kernel[:dense, :known].contiguous()))
        columns.append(rows + first)
        first += layer.out_channels
        order, dense_before = rows, dense
    collect = body.collect
    assert collect.bias is not None
    first_mask, _, _, second_mask, _, last_mask = module.spa_mask
    assert isinstance(first_mask, nn.Conv2d)
    assert isinstance(second_mask, nn.Conv2d)
    assert isinstance(last_mask, nn.ConvTranspose2d)
    return PackedModule(
        tuple(layers),
        collect.weight.detach()[:, torch.cat(columns), 0, 0].contiguous(),
        collect.bias.detach(),
        module.ca.conv_du,
        (first_mask, second_mask, last_mask),
    )
