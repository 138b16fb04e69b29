"""Compressed weights of CoreML programs, decoded: palettes and integers with scales.

Up to iOS 17 these operations keep bits packed in a byte array; from iOS 18 on they have typed
integers, and blocks with tables or scales of their own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srdeploy.errors import UserError
from srdeploy.runtime.coreml.arguments import Arguments
from srdeploy.runtime.coreml.values import unpack


def affine_dequantize(a: Arguments) -> Tensor:
    """``(quantized_data - zero_point) * scale``, per tensor or along one axis."""
    data = a.array("quantized_data").astype(np.float32)
    scale = a.array("scale").astype(np.float32)
    zero = a.array("zero_point").astype(np.float32)
    shape = [1] * data.ndim
    shape[int(a.number("axis"))] = -1
    scale, zero = (v.reshape(shape) if v.ndim else v for v in (scale, zero))
    if np.broadcast_shapes(data.shape, scale.shape, zero.shape) != data.shape:
        raise UserError("Scales of a CoreML program do not fit their weights; export it again.")
    return torch.from_numpy((data - zero) * scale)


def blockwise_shift_scale(a: Arguments) -> Tensor:
    """``(data - offset) * scale``, each scale serving a block of the data."""
    data = a.array("data").astype(np.float32)
    if "offset" in a:
        data = data - _spread(a.array("offset").astype(np.float32), data.shape)
    return torch.from_numpy(data * _spread(a.array("scale").astype(np.float32), data.shape))


def lut_to_dense(a: Arguments) -> Tensor:
    """Indices into a table (into one table per block, from iOS 18 on)."""
    lut = a.array("lut")
    if "shape" in a:
        shape = tuple(a.ints("shape"))
        bits = int(math.log2(lut.size))
        indices = unpack(a.array("indices").tobytes(), bits, math.prod(shape))
        return torch.from_numpy(lut[indices].astype(np.float32).reshape(shape))
    indices = a.array("indices")
    blocks, (_, length) = lut.shape[:-2], lut.shape[-2:]
    if length != 1:
        raise UserError("Palettes of vectors are not known to srdeploy's reference interpreter.")
    which = np.arange(math.prod(blocks)).reshape(blocks)
    tables = lut.reshape(-1, lut.shape[-2])
    found = tables[_spread(which, indices.shape), indices]
    return torch.from_numpy(found.astype(np.float32))


def _spread(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Repeat each value over its block until the shape is reached."""
    for axis, (have, want) in enumerate(zip(values.shape, shape, strict=True)):
        if have != want:
            values = np.repeat(values, want // have, axis)
    return values
