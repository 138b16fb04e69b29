"""The operations of CoreML programs that super-resolution networks use, in torch.

Semantics are MIL's (coremltools, ``converters/mil/mil/ops/defs``): sizes are [N, C, H, W], pads
begin and end for each axis in order. Floating-point values are float32 here, whatever their type
in the program, and integers are int64; rounding to the program's type is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srdeploy.errors import UserError
from srdeploy.runtime.coreml.arguments import Arguments, Result
from srdeploy.runtime.coreml.shapes import SHAPES


def _conv(a: Arguments) -> Tensor:
    x, weight = a.tensor("x"), a.tensor("weight")
    spatial = weight.dim() - 2
    strides, dilations = a.ints("strides", [1] * spatial), a.ints("dilations", [1] * spatial)
    pads = _pads(a, x, weight, strides, dilations)
    if pads[::2] == pads[1::2]:
        padding = pads[::2]
    else:
        x, padding = F.pad(x, _innermost_first(pads)), [0] * spatial
    groups = int(a.number("groups", 1))
    conv = {1: F.conv1d, 2: F.conv2d}[spatial]
    return conv(x, weight, a.optional("bias"), strides, padding, dilations, groups)


def _pads(
    a: Arguments, x: Tensor, weight: Tensor, strides: list[int], dilations: list[int]
) -> list[int]:
    kind = a.text("pad_type", "valid")
    spatial = len(strides)
    if kind == "valid":
        return [0] * (2 * spatial)
    if kind == "custom":
        return a.ints("pad", [0] * (2 * spatial))
    pads = []
    for size, kernel, stride, dilation in zip(
        x.shape[2:], weight.shape[2:], strides, dilations, strict=True
    ):
        total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        pads += [small, large] if kind == "same" else [large, small]
    return pads


def _conv_transpose(a: Arguments) -> Tensor:
    x, weight = a.tensor("x"), a.tensor("weight")
    spatial = weight.dim() - 2
    strides, dilations = a.ints("strides", [1] * spatial), a.ints("dilations", [1] * spatial)
    kind = a.text("pad_type", "valid")
    if kind not in ("valid", "custom"):
        raise UserError(f"A transposed convolution with pad_type '{kind}' is not known here.")
    pads = a.ints("pad", [0] * (2 * spatial)) if kind == "custom" else [0] * (2 * spatial)
    groups = int(a.number("groups", 1))
    conv = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[spatial]
    full = conv(x, weight, None, strides, 0, 0, groups, dilations)
    wanted = a.ints("output_shape")[2:] if "output_shape" in a else None
    for axis in range(spatial):
        size = full.shape[2 + axis]
        length = wanted[axis] if wanted else size - pads[2 * axis] - pads[2 * axis + 1]
        full = full.narrow(2 + axis, pads[2 * axis], length)
    bias = a.optional("bias")
    return full if bias is None else full + bias.reshape(-1, *[1] * spatial)


def _pad(a: Arguments) -> Tensor:
    x, pads, mode = a.tensor("x"), a.ints("pad"), a.text("mode", "constant")
    if mode == "constant":
        return F.pad(x, _innermost_first(pads), value=a.number("constant_val"))
    while pads[:2] == [0, 0] and len(pads) > 4:  # torch wants the spatial axes alone
        pads = pads[2:]
    return F.pad(x, _innermost_first(pads), mode=mode)


def _innermost_first(pads: list[int]) -> list[int]:
    """MIL lists pads from the first axis on, torch from the last."""
    return [n for i in range(len(pads) - 2, -1, -2) for n in pads[i : i + 2]]


def _pool(kind: str) -> Callable[[Arguments], Tensor]:
    def pool(a: Arguments) -> Tensor:
        x, kernel = a.tensor("x"), a.ints("kernel_sizes")
        strides = a.ints("strides", [1] * len(kernel))
        pads = a.ints("pad", [0] * 2 * len(kernel)) if a.text("pad_type") == "custom" else []
        if a.text("pad_type") not in ("valid", "custom") or pads[::2] != pads[1::2]:
            raise UserError(f"A {kind}_pool with pads {a.text('pad_type')} is not known here.")
        padding, ceil = (pads[::2] or 0), bool(a.number("ceil_mode"))
        if kind == "max":
            return F.max_pool2d(x, kernel, strides, padding, ceil_mode=ceil)
        counted = not a.number("exclude_padding_from_average")
        return F.avg_pool2d(x, kernel, strides, padding, ceil, counted)

    return pool


_ALIGNED = {"STRICT_ALIGN_CORNERS": True, "ALIGN_CORNERS": True, "UNALIGN_CORNERS": False}
"""Whether torch calls a sampling mode ``align_corners``."""


def _upsample(a: Arguments, mode: str, **options: Any) -> Tensor:
    factors = (a.number("scale_factor_height", 1), a.number("scale_factor_width", 1))
    return F.interpolate(a.tensor("x"), scale_factor=factors, mode=mode, **options)


def _upsample_bilinear(a: Arguments) -> Tensor:
    aligned = bool(a.number("align_corners", 1))
    if not aligned and not a.number("half_pixel_centers", 1):
        raise UserError("Bilinear upsampling without half-pixel centres is not known here.")
    return _upsample(a, "bilinear", align_corners=aligned)


def _resize_bilinear(a: Arguments) -> Tensor:
    mode = a.text("sampling_mode", "DEFAULT")
    if mode not in _ALIGNED:
        raise UserError(f"Bilinear resizing with sampling mode {mode} is not known here.")
    size = [int(a.number("target_size_height")), int(a.number("target_size_width"))]
    return F.interpolate(a.tensor("x"), size, mode="bilinear", align_corners=_ALIGNED[mode])


def _resize(a: Arguments) -> Tensor:
    """IOS 17's resize: the last axes get sizes, zero stands for the input's own."""
    x, count = a.tensor("x"), int(a.number("resized_dims"))
    if count != 2 or x.dim() != 4:
        raise UserError(f"A resize of {count} axes of {x.dim()} is not known here.")
    wanted = a.ints("shape")[-count:]
    size = [n or own for n, own in zip(wanted, x.shape[-count:], strict=True)]
    mode, sampling = a.text("interpolation_mode", "LINEAR"), a.text("sampling_mode", "DEFAULT")
    if mode != "LINEAR" or sampling not in _ALIGNED:
        raise UserError(f"A resize by {mode} with sampling mode {sampling} is not known here.")
    return F.interpolate(x, size, mode="bilinear", align_corners=_ALIGNED[sampling])


def _resize_nearest(a: Arguments) -> Tensor:
    size = [int(a.number("target_size_height")), int(a.number("target_size_width"))]
    if any(n % own for n, own in zip(size, a.tensor("x").shape[2:], strict=True)):
        raise UserError("Nearest-neighbour resizing by a fraction is not known here.")
    return F.interpolate(a.tensor("x"), size, mode="nearest")


def _l2_norm(a: Arguments) -> Tensor:
    """Over the last three axes."""
    x = a.tensor("x")
    return x / (x.square().sum((-3, -2, -1), keepdim=True) + a.number("epsilon", 1e-6)).sqrt()


def _thresholded_relu(a: Arguments) -> Tensor:
    x = a.tensor("x")
    return torch.where(x >= a.number("alpha"), x, 0.0)


def _gelu(a: Arguments) -> Tensor:
    mode = a.text("mode", "EXACT")
    x = a.tensor("x")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def _prelu(a: Arguments) -> Tensor:
    return F.prelu(a.tensor("x"), a.tensor("alpha"))


def _layer_norm(a: Arguments) -> Tensor:
    x, axes = a.tensor("x"), a.ints("axes")
    shape = [x.shape[axis] for axis in axes]
    return F.layer_norm(
        x, shape, a.optional("gamma"), a.optional("beta"), a.number("epsilon", 1e-5)
    )


def _batch_norm(a: Arguments) -> Tensor:
    mean, variance = a.tensor("mean"), a.tensor("variance")
    epsilon = a.number("epsilon", 1e-5)
    return F.batch_norm(
        a.tensor("x"), mean, variance, a.optional("gamma"), a.optional("beta"), eps=epsilon
    )


def _instance_norm(a: Arguments) -> Tensor:
    epsilon = a.number("epsilon", 1e-5)
    return F.instance_norm(
        a.tensor("x"), weight=a.optional("gamma"), bias=a.optional("beta"), eps=epsilon
    )


def _matmul(a: Arguments) -> Tensor:
    x, y = a.tensor("x"), a.tensor("y")
    return (x.mT if a.number("transpose_x") else x) @ (y.mT if a.number("transpose_y") else y)


def _quantize(a: Arguments) -> Tensor:
    """To 8-bit integers, half to even; kept as float32 numbers."""
    x = a.tensor("input")
    scale, zero = _along_axis(a, x, "scale", 1.0), _along_axis(a, x, "zero_point", 0.0)
    low, high = {"int8": (-128, 127), "uint8": (0, 255)}[a.text("output_dtype")]
    return (torch.round(x / scale) + zero).clamp(low, high)


def _dequantize(a: Arguments) -> Tensor:
    x = a.tensor("input")
    return (x - _along_axis(a, x, "zero_point", 0.0)) * _along_axis(a, x, "scale", 1.0)


def _along_axis(a: Arguments, x: Tensor, name: str, default: float) -> Tensor:
    value = (a.tensor(name) if name in a else torch.tensor(default)).float()
    if value.dim() == 0:
        return value
    shape = [1] * x.dim()
    shape[int(a.number("axis"))] = -1
    return value.reshape(shape)


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Arguments], Tensor]:
    return lambda a: function(a.tensor("x"))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Arguments], Tensor]:
    return lambda a: function(a.tensor("x"), a.tensor("y"))


def _reduce(function: Callable[..., Tensor]) -> Callable[[Arguments], Tensor]:
    def reduce(a: Arguments) -> Tensor:
        x = a.tensor("x")
        return function(x, a.ints("axes", range(x.dim())), bool(a.number("keep_dims")))

    return reduce


def _reduce_prod(a: Arguments) -> Tensor:
    x, keep = a.tensor("x"), bool(a.number("keep_dims"))
    axes = sorted((axis % x.dim() for axis in a.ints("axes", range(x.dim()))), reverse=True)
    for axis in axes:
        x = x.prod(axis, keep)
    return x


def _arg(function: Callable[..., Tensor]) -> Callable[[Arguments], Tensor]:
    return lambda a: function(a.tensor("x"), int(a.number("axis", -1)), bool(a.number("keep_dims")))


TABLE: dict[str, Callable[[Arguments], Result]] = {
    **SHAPES,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "linear": lambda a: F.linear(a.tensor("x"), a.tensor("weight"), a.optional("bias")),
    "matmul": _matmul,
    "relu": _unary(F.relu),
    "relu6": _unary(F.relu6),
    "leaky_relu": lambda a: F.leaky_relu(a.tensor("x"), a.number("alpha")),
    "prelu": _prelu,
    "elu": lambda a: F.elu(a.tensor("x"), a.number("alpha")),
    "thresholded_relu": _thresholded_relu,
    "sigmoid": _unary(torch.sigmoid),
    "sigmoid_hard": lambda a: (a.number("alpha") * a.tensor("x") + a.number("beta")).clamp(0, 1),
    "silu": _unary(F.silu),
    "gelu": _gelu,
    "tanh": _unary(torch.tanh),
    "softplus": _unary(F.softplus),
    "softmax": lambda a: a.tensor("x").softmax(int(a.number("axis"))),
    "clip": lambda a: a.tensor("x").clamp(a.number("alpha"), a.number("beta")),
    "abs": _unary(torch.abs),
    "exp": _unary(torch.exp),
    "round": _unary(torch.round),
    "floor": _unary(torch.floor),
    "ceil": _unary(torch.ceil),
    "sign": _unary(torch.sign),
    "sin": _unary(torch.sin),
    "cos": _unary(torch.cos),
    "erf": _unary(torch.erf),
    "exp2": _unary(torch.exp2),
    "log": lambda a: torch.log(a.tensor("x") + a.number("epsilon", 1e-45)),
    "inverse": lambda a: 1 / (a.tensor("x") + a.number("epsilon", 1e-4)),
    "sqrt": _unary(torch.sqrt),
    "square": _unary(torch.square),
    "rsqrt": lambda a: torch.rsqrt(a.tensor("x") + a.number("epsilon", 1e-12)),
    "add": _binary(torch.add),
    "sub": _binary(torch.sub),
    "mul": _binary(torch.mul),
    "real_div": _binary(torch.div),
    "pow": _binary(torch.pow),
    "maximum": _binary(torch.maximum),
    "minimum": _binary(torch.minimum),
    "floor_div": _binary(lambda x, y: torch.div(x, y, rounding_mode="floor")),
    "mod": _binary(torch.remainder),
    "greater": _binary(torch.gt),
    "greater_equal": _binary(torch.ge),
    "less": _binary(torch.lt),
    "less_equal": _binary(torch.le),
    "equal": _binary(torch.eq),
    "not_equal": _binary(torch.ne),
    "logical_and": _binary(torch.logical_and),
    "logical_or": _binary(torch.logical_or),
    "logical_xor": _binary(torch.logical_xor),
    "logical_not": _unary(torch.logical_not),
    "einsum": lambda a: torch.einsum(a.text("equation"), *a.tensors("values")),
    "l2_norm": _l2_norm,
    "reduce_mean": _reduce(torch.mean),
    "reduce_sum": _reduce(torch.sum),
    "reduce_max": _reduce(torch.amax),
    "reduce_min": _reduce(torch.amin),
    "reduce_l1_norm": _reduce(lambda x, axes, keep: x.abs().sum(axes, keep)),
    "reduce_sum_square": _reduce(lambda x, axes, keep: x.square().sum(axes, keep)),
    "reduce_prod": _reduce_prod,
    "reduce_argmax": _arg(torch.argmax),
    "reduce_argmin": _arg(torch.argmin),
    "reduce_l2_norm": _reduce(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "avg_pool": _pool("avg"),
    "max_pool": _pool("max"),
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "pad": _pad,
    "upsample_nearest_neighbor": lambda a: _upsample(a, "nearest"),
    "upsample_bilinear": _upsample_bilinear,
    "resize_bilinear": _resize_bilinear,
    "resize": _resize,
    "resize_nearest_neighbor": _resize_nearest,
    "quantize": _quantize,
    "dequantize": _dequantize,
}
