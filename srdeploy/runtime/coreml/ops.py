"""The operations of CoreML programs that super-resolution networks use, in torch.

Semantics are MIL's (coremltools, ``converters/mil/mil/ops/defs``): sizes are [N, C, H, W], pads
begin and end for each axis in order. Floating-point values are float32 here, whatever their type
in the program, and integers are int64; rounding to the program's type is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from srdeploy.errors import UserError

Result = Tensor | tuple[Tensor, ...]


class Arguments:
    """What one operation is given, by name: tensors, or constants of the program."""

    def __init__(self, values: Mapping[str, Sequence[Tensor | NDArray[Any] | str]]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def tensor(self, name: str) -> Tensor:
        """A tensor, computed or constant; KeyError without it."""
        return _tensor(self._values[name][0])

    def optional(self, name: str) -> Tensor | None:
        """A tensor, or None without it."""
        return self.tensor(name) if name in self else None

    def tensors(self, name: str) -> list[Tensor]:
        """All tensors of a list."""
        return [_tensor(value) for value in self._values[name]]

    def array(self, name: str) -> NDArray[Any]:
        """A constant as it is stored."""
        value = self._values[name][0]
        assert isinstance(value, np.ndarray)
        return value

    def ints(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """Integers (or flags), constant or computed."""
        if name not in self:
            return list(default)
        return [int(v) for v in self.tensor(name).reshape(-1).tolist()]

    def number(self, name: str, default: float = 0.0) -> float:
        """One number or flag."""
        return float(self.tensor(name)) if name in self else default

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        return str(self._values[name][0]) if name in self else default


def _tensor(value: Tensor | NDArray[Any] | str) -> Tensor:
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype == np.bool_:
        return torch.from_numpy(np.array(array))
    return torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))


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


def _slice(a: Arguments) -> Tensor:
    x = a.tensor("x")
    begin, end = a.ints("begin"), a.ints("end")
    rank = len(begin)
    strides = a.ints("stride", [1] * rank)
    open_begin, open_end = a.ints("begin_mask", [0] * rank), a.ints("end_mask", [0] * rank)
    squeeze = a.ints("squeeze_mask", [0] * rank)
    for axis in range(rank):
        size = x.shape[axis]
        if squeeze[axis]:
            x = x.narrow(axis, begin[axis] % size, 1)
            continue
        part = slice(
            None if open_begin[axis] else begin[axis],
            None if open_end[axis] else end[axis],
            strides[axis],
        )
        if strides[axis] > 0:
            x = x[(slice(None),) * axis + (part,)]
        else:
            x = x.index_select(axis, torch.tensor(range(*part.indices(size))))
    for axis in reversed(range(rank)):
        if squeeze[axis]:
            x = x.squeeze(axis)
    return x


def _split(a: Arguments) -> tuple[Tensor, ...]:
    x, axis = a.tensor("x"), int(a.number("axis"))
    if "split_sizes" in a:
        return x.split(a.ints("split_sizes"), axis)
    return x.chunk(int(a.number("num_splits")), axis)


def _concat(a: Arguments) -> Tensor:
    values = [v if v.dim() else v[None] for v in a.tensors("values")]  # single sizes into a shape
    axis = int(a.number("axis"))
    if a.number("interleave"):  # in turn, slice by slice
        axis %= values[0].dim()
        return torch.stack(values, axis + 1).flatten(axis, axis + 1)
    return torch.cat(values, axis)


def _reshape(a: Arguments) -> Tensor:
    x, shape = a.tensor("x"), a.ints("shape")
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])


def _depth_to_space(a: Arguments) -> Tensor:
    """Depth-column-row order, unlike a pixel shuffle."""
    x, block = a.tensor("x"), int(a.number("block_size"))
    n, c, h, w = x.shape
    parts = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(n, c // block**2, h * block, w * block)


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
    if mode not in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS"):
        raise UserError(f"Bilinear resizing with sampling mode {mode} is not known here.")
    size = [int(a.number("target_size_height")), int(a.number("target_size_width"))]
    aligned = mode != "UNALIGN_CORNERS"
    return F.interpolate(a.tensor("x"), size, mode="bilinear", align_corners=aligned)


def _gather(a: Arguments) -> Tensor:
    x, indices, axis = a.tensor("x"), a.tensor("indices").long(), int(a.number("axis"))
    if a.number("batch_dims"):
        raise UserError("A gather with batch dimensions is not known here.")
    found: Tensor = x[(slice(None),) * (axis % x.dim()) + (indices,)]
    return found


def _crop(a: Arguments) -> Tensor:
    x = a.tensor("x")
    for axis, name in ((-2, "crop_height"), (-1, "crop_width")):
        before, after = a.ints(name)
        x = x.narrow(axis, before, x.shape[axis] - before - after)
    return x


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


def _cast(a: Arguments) -> Tensor:
    x, kind = a.tensor("x"), a.text("dtype")
    if kind == "bool":
        return x.bool()
    return x.long() if "int" in kind else x.float()


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


TABLE: dict[str, Callable[[Arguments], Result]] = {
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
    "greater": _binary(torch.gt),
    "reduce_mean": _reduce(torch.mean),
    "reduce_sum": _reduce(torch.sum),
    "reduce_max": _reduce(torch.amax),
    "reduce_l2_norm": _reduce(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "avg_pool": _pool("avg"),
    "max_pool": _pool("max"),
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "concat": _concat,
    "stack": lambda a: torch.stack(a.tensors("values"), int(a.number("axis"))),
    "split": _split,
    "slice_by_index": _slice,
    "reshape": _reshape,
    "transpose": lambda a: a.tensor("x").permute(a.ints("perm")),
    "expand_dims": lambda a: _expand_dims(a.tensor("x"), a.ints("axes")),
    "squeeze": lambda a: a.tensor("x").squeeze(tuple(a.ints("axes"))),
    "tile": lambda a: a.tensor("x").repeat(a.ints("reps")),
    "pad": _pad,
    "crop": _crop,
    "gather": _gather,
    "pixel_shuffle": lambda a: F.pixel_shuffle(a.tensor("x"), int(a.number("upscale_factor"))),
    "pixel_unshuffle": lambda a: F.pixel_unshuffle(
        a.tensor("x"), int(a.number("downscale_factor"))
    ),
    "depth_to_space": _depth_to_space,
    "upsample_nearest_neighbor": lambda a: _upsample(a, "nearest"),
    "upsample_bilinear": _upsample_bilinear,
    "resize_bilinear": _resize_bilinear,
    "shape": lambda a: torch.tensor(a.tensor("x").shape),
    "cast": _cast,
    "identity": _unary(lambda x: x),
    "quantize": _quantize,
    "dequantize": _dequantize,
}


def _expand_dims(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x
