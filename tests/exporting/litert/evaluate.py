"""A LiteRT program computed by torch, operation by operation, as LiteRT defines them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from srdeploy.exporting.litert.graph import Op, Program


def evaluate(program: Program, image: np.ndarray) -> np.ndarray:
    """The result for an image ``[1, C, H, W]``, channels second too."""
    known = {id(program.input): torch.from_numpy(image.transpose(0, 2, 3, 1).copy())}

    def value(tensor: Any) -> Tensor:
        if tensor.data is None:
            return known[id(tensor)]
        return torch.from_numpy(np.array(tensor.data))

    for op in program.ops:
        given = [value(tensor) for tensor in op.inputs]
        made = _activated(_KINDS[op.kind](op, *given), op)
        assert tuple(made.shape) == op.output.shape, (op.kind, made.shape, op.output.shape)
        known[id(op.output)] = made
    return known[id(program.output)].numpy().transpose(0, 3, 1, 2)


def _activated(x: Tensor, op: Op) -> Tensor:
    kind = op.options.get("fusedActivationFunction", "NONE")
    return {"NONE": lambda: x, "RELU": lambda: x.relu(), "RELU6": lambda: x.clamp(0, 6),
            "RELU_N1_TO_1": lambda: x.clamp(-1, 1)}[kind]()  # fmt: skip


def _same(op: Op, x: Tensor, kernel: tuple[int, int], fill: float = 0.0) -> Tensor:
    """Padded as SAME says; channels second."""
    if op.options["padding"] == "VALID":
        return x
    around: list[int] = []
    for axis, letter in ((3, "W"), (2, "H")):
        stride = op.options[f"stride{letter}"]
        reach = (kernel[axis - 2] - 1) * op.options.get(f"dilation{letter}Factor", 1) + 1
        size = x.shape[axis]
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        around += [total // 2, total - total // 2]
    return functional.pad(x, around, value=fill)


def _convolved(op: Op, x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    o = op.options
    x = _same(op, x.permute(0, 3, 1, 2), (weight.shape[2], weight.shape[3]))
    y = functional.conv2d(
        x, weight, bias, (o["strideH"], o["strideW"]), 0,
        (o["dilationHFactor"], o["dilationWFactor"]), groups,
    )  # fmt: skip
    return y.permute(0, 2, 3, 1)


def _conv(op: Op, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _convolved(op, x, weight.permute(0, 3, 1, 2), bias, 1)


def _depthwise(op: Op, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    assert weight.shape[3] == x.shape[3] * op.options["depthMultiplier"]
    return _convolved(op, x, weight.permute(3, 0, 1, 2), bias, x.shape[3])


def _transposed(op: Op, size: Tensor, weight: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    assert op.options["padding"] == "VALID"
    strides = op.options["strideH"], op.options["strideW"]
    y = functional.conv_transpose2d(
        x.permute(0, 3, 1, 2), weight.permute(3, 0, 1, 2), bias, strides
    )
    y = y.permute(0, 2, 3, 1)
    more = [int(a) - b for a, b in zip(size[1:3], y.shape[1:3], strict=True)]
    if any(more):  # what nothing reaches has the bias alone
        wide = bias.expand(*map(int, size)).clone()
        wide[:, : y.shape[1], : y.shape[2]] = y
        y = wide
    return y


def _pool(op: Op, x: Tensor) -> Tensor:
    o = op.options
    kernel, strides = (o["filterHeight"], o["filterWidth"]), (o["strideH"], o["strideW"])
    x = x.permute(0, 3, 1, 2)
    if op.kind == "MAX_POOL_2D":
        y = functional.max_pool2d(_same(op, x, kernel, -torch.inf), kernel, strides)
    else:
        assert o["padding"] == "VALID"
        y = functional.avg_pool2d(x, kernel, strides)
    return y.permute(0, 2, 3, 1)


def _pad(op: Op, x: Tensor, pads: Tensor, fill: Tensor | None = None) -> Tensor:
    around = [int(n) for pair in reversed(pads.tolist()) for n in pair]
    return functional.pad(x, around, value=0.0 if fill is None else float(fill))


def _slice(op: Op, x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    for axis, (first, count) in enumerate(zip(begin.tolist(), size.tolist(), strict=True)):
        x = x.narrow(axis, first, count)
    return x


def _strided(op: Op, x: Tensor, begin: Tensor, end: Tensor, by: Tensor) -> Tensor:
    parts = zip(begin.tolist(), end.tolist(), by.tolist(), strict=True)
    return x[tuple(slice(*one) for one in parts)]


def _to_space(op: Op, x: Tensor) -> Tensor:
    n, h, w, c = x.shape
    r = op.options["blockSize"]
    y = x.reshape(n, h, w, r, r, c // r**2).permute(0, 1, 3, 2, 4, 5)
    return y.reshape(n, h * r, w * r, c // r**2)


def _to_depth(op: Op, x: Tensor) -> Tensor:
    n, h, w, c = x.shape
    r = op.options["blockSize"]
    y = x.reshape(n, h // r, r, w // r, r, c).permute(0, 1, 3, 2, 4, 5)
    return y.reshape(n, h // r, w // r, c * r * r)


def _resized(op: Op, x: Tensor, size: Tensor) -> Tensor:
    o = op.options
    nearest = op.kind == "RESIZE_NEAREST_NEIGHBOR"
    found = x
    for axis, out in zip((1, 2), size.tolist(), strict=True):
        n = x.shape[axis]
        scale = (n - 1) / (out - 1) if o["alignCorners"] and out > 1 else n / out
        at = torch.arange(out, dtype=torch.float64)
        if o["halfPixelCenters"]:
            at = (at + 0.5) * scale - (0 if nearest else 0.5)
        else:
            at = at * scale
        if nearest:
            low = (at + 0.5).floor() if o["alignCorners"] else at.floor()
            found = found.index_select(axis, low.clamp(0, n - 1).long())
            continue
        low = at.floor()
        share = (at - low).float().reshape([-1 if d == axis else 1 for d in range(4)])
        first = found.index_select(axis, low.clamp(0, n - 1).long())
        second = found.index_select(axis, (low + 1).clamp(0, n - 1).long())
        found = first * (1 - share) + second * share
    return found


def _reduced(made: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda op, x, axes: made(x, dim=axes.tolist(), keepdim=op.options["keepDims"])


def _matmul(op: Op, x: Tensor, y: Tensor) -> Tensor:
    return x @ y


_KINDS: dict[str, Callable[..., Tensor]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "PAD": _pad,
    "PADV2": _pad,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided,
    "RESHAPE": lambda op, x, shape: x.reshape(shape.tolist()),
    "TRANSPOSE": lambda op, x, perm: x.permute(perm.tolist()),
    "TILE": lambda op, x, times: x.repeat(times.tolist()),
    "CONCATENATION": lambda op, *parts: torch.cat(parts, op.options["axis"]),
    "DEPTH_TO_SPACE": _to_space,
    "SPACE_TO_DEPTH": _to_depth,
    "RESIZE_BILINEAR": _resized,
    "RESIZE_NEAREST_NEIGHBOR": _resized,
    "MEAN": _reduced(torch.mean),
    "SUM": _reduced(torch.sum),
    "REDUCE_MAX": _reduced(torch.amax),
    "REDUCE_MIN": _reduced(torch.amin),
    "REVERSE_V2": lambda op, x, axes: x.flip(axes.tolist()),
    "BATCH_MATMUL": _matmul,
    "SOFTMAX": lambda op, x: x.softmax(-1),
    "PRELU": lambda op, x, slope: torch.where(x > 0, x, x * slope),
    "ADD": lambda op, x, y: x + y,
    "SUB": lambda op, x, y: x - y,
    "MUL": lambda op, x, y: x * y,
    "DIV": lambda op, x, y: x / y,
    "POW": lambda op, x, y: x**y,
    "MAXIMUM": lambda op, x, y: torch.maximum(x, y),
    "MINIMUM": lambda op, x, y: torch.minimum(x, y),
    "RELU": lambda op, x: x.relu(),
    "RELU6": lambda op, x: x.clamp(0, 6),
    "RELU_N1_TO_1": lambda op, x: x.clamp(-1, 1),
    "LOGISTIC": lambda op, x: x.sigmoid(),
    "TANH": lambda op, x: x.tanh(),
    "EXP": lambda op, x: x.exp(),
    "LOG": lambda op, x: x.log(),
    "ABS": lambda op, x: x.abs(),
    "SQRT": lambda op, x: x.sqrt(),
    "RSQRT": lambda op, x: x.rsqrt(),
    "ELU": lambda op, x: functional.elu(x),
    "HARD_SWISH": lambda op, x: functional.hardswish(x),
    "FLOOR": lambda op, x: x.floor(),
}
"""By LiteRT's name."""
