"""An SMSR network as the sizes and weights of a model file.

In the order of the network: the colours' shift before (``[3, 3]`` and 3 biases) and after it;
``head``; of every module the mask branch (its last layer as a 2x2 convolution with an output per
place of a 2x2 window), the masked layers (dense inputs before sparse ones, dense outputs first, no
bias), the 1x1 convolution, the attention's two layers (``[n_out, n_in]``), and in 8 bits the steps
of its input and of its layers' outputs (:mod:`srdeploy.sparse.calibrate`); ``collect`` and
``tail``. Of every other layer first the matrix ``[depth, n_out]`` that a pixel's inputs are
multiplied by (:mod:`srdeploy.sparse.rowconv`), then the bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srdeploy.models.smsr.network import SMSR
from srdeploy.models.smsr.pack import PackedModule, pack
from srdeploy.sparse.maskbranch import four_phases
from srdeploy.sparse.model_file import COLOURS, Sizes
from srdeploy.sparse.rowconv import RowConv, pointwise, spatial


def model_weights(
    network: SMSR, precision: str = "fp32", steps: Sequence[Tensor] = ()
) -> tuple[Sizes, NDArray[np.float32]]:
    """What :func:`srdeploy.sparse.model_file.model_bytes` writes.

    Args:
        network: Trained, float32, on the CPU.
        precision: One of :data:`srdeploy.sparse.model_file.PRECISIONS`.
        steps: In ``int8`` what :func:`srdeploy.sparse.calibrate.steps` found; else nothing.

    Returns:
        Sizes, and weights ``float32 [n]``.
    """
    with torch.no_grad():
        packed = pack(network)
        parts = [_shift(network, "sub_mean"), _shift(network, "add_mean")]
        parts += [_conv(network.head[0]), _conv(network.head[2])]
        for number, one in enumerate(packed):
            parts += [*_module(one), *steps[number : number + 1]]
        parts += [_conv(network.collect[0]), _conv(network.collect[2]), _conv(network.tail[0])]
        weights = torch.cat(parts).float().numpy()
    modules = tuple(
        (
            one.mask_layers[0].out_channels,
            one.mask_layers[1].out_channels,
            _layers_of(one.attention)[0].out_channels,
            tuple(zip(one.widths, one.dense, strict=True)),
        )
        for one in packed
    )
    layers = (network.head[0], network.head[2], network.collect[0])
    head, trunk, collect = (_of(layer).out_channels for layer in layers)
    return Sizes(network.scale, head, trunk, collect, modules, precision), weights


def _of(layer: nn.Module) -> nn.Conv2d:
    assert isinstance(layer, nn.Conv2d)
    return layer


def _layers_of(attention: nn.Module) -> tuple[nn.Conv2d, nn.Conv2d]:
    assert isinstance(attention, nn.Sequential)
    return _of(attention[0]), _of(attention[2])


def _shift(network: SMSR, name: str) -> Tensor:
    if network.mean is None:
        return torch.cat([torch.eye(COLOURS).flatten(), torch.zeros(COLOURS)])
    layer = _of(getattr(network, name))
    return _flat(layer.weight, layer.bias)


def _module(packed: PackedModule) -> list[Tensor]:
    first, second, _ = packed.mask_layers
    parts = [_conv(first), _conv(second), _rows(four_phases(*packed.mask_difference()))]
    known: int | None = None
    for layer in packed.layers:
        parts.append(_rows(spatial(layer.inside, split=known)))
        known = layer.outside.shape[0]
    parts.append(_rows(pointwise(packed.collect, packed.widths, packed.collect_bias)))
    return parts + [_flat(layer.weight, layer.bias) for layer in _layers_of(packed.attention)]


def _conv(layer: nn.Module) -> Tensor:
    found = _of(layer)
    return _rows(spatial(found.weight, found.bias))


def _rows(conv: RowConv) -> Tensor:
    return _flat(conv.matrix, conv.bias)


def _flat(weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.cat([weight.flatten(), *([] if bias is None else [bias.flatten()])])
