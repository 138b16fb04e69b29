"""ONNX's operations on images in LiteRT's: convolutions, windows and borders.

LiteRT pads a convolution by nothing, or so that the output is ``ceil(input / stride)``; anything
else is a padding of its own before it. Borders that continue the image are pieces of the image put
beside it, as delegates take no other kind than zeros everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from srdeploy.exporting.litert.graph import Tensor
from srdeploy.exporting.litert.lower import Lowered, Lowering

_LOWEST = -3.0e38
"""Stands before any value of a maximum; float32 holds it."""


def _window(
    work: Lowering, node: onnx.NodeProto, kernel: Sequence[int], size: Sequence[int]
) -> Any:
    """Strides, dilations, and what is padded before and after, of heights and widths."""
    count = len(kernel)
    strides = work.told(node, "strides", [1] * count)
    dilations = work.told(node, "dilations", [1] * count)
    pads = work.told(node, "pads", [0] * 2 * count)
    automatic = work.told(node, "auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            _same(n, k, s, d) for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
        ]
        less, more = [n // 2 for n in totals], [n - n // 2 for n in totals]
        pads = [*less, *more] if automatic == "SAME_UPPER" else [*more, *less]
    pairs = list(zip(pads[:count], pads[count:], strict=True))
    if count == 1:
        return [1, *strides], [1, *dilations], [(0, 0), *pairs]
    return list(strides), list(dilations), pairs


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """What LiteRT's SAME pads in all."""
    reach = (kernel - 1) * dilation + 1
    return max((-(-size // stride) - 1) * stride + reach - size, 0)


def _padded(
    work: Lowering, x: Tensor, kernel: Sequence[int], strides: Sequence[int],
    dilations: Sequence[int], pads: Sequence[tuple[int, int]],
) -> tuple[Tensor, str]:  # fmt: skip
    """An image and LiteRT's padding; the image with a border where that has none for it."""
    if (word := _word(x, kernel, strides, dilations, pads)) is not None:
        return x, word
    return zeros_around(work, x, [(0, 0), *pads, (0, 0)]), "VALID"


def _word(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int],
    pads: Sequence[tuple[int, int]],
) -> str | None:  # fmt: skip
    """What LiteRT calls a padding; None: it has no such one."""
    if not any(n for pair in pads for n in pair):
        return "VALID"
    totals = [
        _same(n, k, s, d)
        for n, k, s, d in zip(x.shape[1:3], kernel, strides, dilations, strict=True)
    ]
    same = all(pair == (n // 2, n - n // 2) for pair, n in zip(pads, totals, strict=True))
    return "SAME" if same else None


def zeros_around(work: Lowering, x: Tensor, pads: Sequence[tuple[int, int]]) -> Tensor:
    """A tensor of four axes with zeros before and after it."""
    if not any(n for pair in pads for n in pair):
        return x
    shape = [n + before + after for n, (before, after) in zip(x.shape, pads, strict=True)]
    return work.op("PAD", [x, work.constant(np.array(pads), "int32")], shape)


def filled_around(
    work: Lowering, x: Tensor, pads: Sequence[tuple[int, int]], value: float
) -> Tensor:
    """The same with another value than 0."""
    if not value:
        return zeros_around(work, x, pads)
    shape = [n + before + after for n, (before, after) in zip(x.shape, pads, strict=True)]
    widths = work.constant(np.array(pads), "int32")
    return work.op("PADV2", [x, widths, work.constant(np.array([value]))], shape)


def cut(work: Lowering, x: Tensor, begin: Sequence[int], size: Sequence[int]) -> Tensor:
    """A part of a tensor of four axes."""
    if tuple(size) == x.shape:
        return x
    return work.op("SLICE", [x, work.numbers(*begin), work.numbers(*size)], size)


def part(work: Lowering, x: Tensor, axis: int, first: int, count: int) -> Tensor:
    """A part along one axis."""
    begin, size = [0] * len(x.shape), list(x.shape)
    begin[axis], size[axis] = first, count
    return cut(work, x, begin, size)


def joined(work: Lowering, parts: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors one after the other along an axis."""
    if len(parts) == 1:
        return parts[0]
    shape = list(parts[0].shape)
    shape[axis] = sum(one.shape[axis] for one in parts)
    return work.op("CONCATENATION", parts, shape, axis=axis, fusedActivationFunction="NONE")


def convolved(
    work: Lowering, x: Tensor, weight: NDArray, bias: NDArray | None = None, *,
    strides: Sequence[int] = (1, 1), dilations: Sequence[int] = (1, 1), padding: str = "VALID",
    shape: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """A convolution.

    Args:
        work: The program.
        x: ``[N, H, W, C]``.
        weight: ``[out, in, h, w]``.
        bias: ``[out]``; None: zeros.
        strides: Down and right.
        dilations: Likewise.
        padding: LiteRT's word.
        shape: Of the output; None: the input's, with other channels.
    """
    wanted = shape or (*x.shape[:3], len(weight))
    return _weighted(work, "CONV_2D", x, weight.transpose(0, 2, 3, 1), bias, wanted, len(weight),
                     strides=strides, dilations=dilations, padding=padding)  # fmt: skip


def _weighted(
    work: Lowering, kind: str, x: Tensor, weight: NDArray, bias: NDArray | None,
    shape: Sequence[int], channels: int, *, strides: Sequence[int], dilations: Sequence[int],
    padding: str, **more: int,
) -> Tensor:  # fmt: skip
    """A convolution whose weights lie as LiteRT has them, to so many channels."""
    return work.op(
        kind,
        [
            x,
            work.constant(weight),
            work.constant(np.zeros(channels) if bias is None else bias),
        ],
        shape,
        padding=padding,
        strideH=strides[0],
        strideW=strides[1],
        dilationHFactor=dilations[0],
        dilationWFactor=dilations[1],
        fusedActivationFunction="NONE",
        **more,
    )


def _conv(work: Lowering, node: onnx.NodeProto) -> None:
    weight, bias = _weights(work, node)
    kernel = weight.shape[2:]
    strides, dilations, pads = _window(work, node, kernel, work.shape(node.input[0])[2:])
    x, weight = _two_sided(work, node, weight)
    x, padding = _padded(work, x, weight.shape[2:], strides, dilations, pads)
    group = work.told(node, "group", 1)
    reach = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    sides = [
        -(-n // s) if padding == "SAME" else (n - r) // s + 1
        for n, r, s in zip(x.shape[1:3], reach, strides, strict=True)
    ]
    shape = (x.shape[0], *sides, len(weight))
    if group == x.shape[3] and group > 1:
        y = _weighted(
            work, "DEPTHWISE_CONV_2D", x, weight.transpose(1, 2, 3, 0), bias, shape, len(weight),
            strides=strides, dilations=dilations, padding=padding,
            depthMultiplier=len(weight) // group,
        )  # fmt: skip
    else:
        ins, outs = x.shape[3] // group, len(weight) // group
        parts = [
            convolved(
                work, part(work, x, 3, n * ins, ins), weight[n * outs : (n + 1) * outs],
                None if bias is None else bias[n * outs : (n + 1) * outs], strides=strides,
                dilations=dilations, padding=padding, shape=(*shape[:3], outs),
            )
            for n in range(group)
        ]  # fmt: skip
        y = joined(work, parts, 3)
    _keep_sided(work, node, y)


def _weights(work: Lowering, node: onnx.NodeProto) -> tuple[NDArray, NDArray | None]:
    names = [name for name in node.input[1:3] if name]
    if not all(name in work.stored for name in names):
        raise work.refuse(node, "its weights are computed")
    if work.stored[names[0]].ndim > 4:
        raise work.refuse(node, "it has more than two dimensions of space")
    bias = work.stored[names[1]] if len(names) > 1 else None
    return work.stored[names[0]], bias


def _two_sided(work: Lowering, node: onnx.NodeProto, weight: NDArray) -> tuple[Tensor, NDArray]:
    """The image of a convolution and its weights, of a row one of height 1."""
    name = node.input[0]
    if weight.ndim == 4:
        return work.image(name), weight
    value = work.values[name]
    n, c, w = value.shape
    x = work.viewed(work.ordered(value, (0, 2, 1)), (n, 1, w, c))
    return x, weight[:, :, None]


def _keep_sided(work: Lowering, node: onnx.NodeProto, y: Tensor) -> None:
    if len(work.shape(node.input[0])) == 4:
        work.keep_image(node.output[0], y)
    else:
        n, _, w, c = y.shape
        work.keep(node.output[0], y, (n, c, w), (0, 2, 1))


def _conv_transpose(work: Lowering, node: onnx.NodeProto) -> None:
    weight, bias = _weights(work, node)
    if weight.ndim != 4:
        raise work.refuse(node, "it has one dimension of space")
    x = work.image(node.input[0])
    if work.told(node, "output_shape") or work.told(node, "auto_pad", "NOTSET") != "NOTSET":
        raise work.refuse(node, "its padding follows from its output's size")
    strides, dilations, pads = _window(work, node, weight.shape[2:], x.shape[1:3])
    if any(d != 1 for d in dilations):
        raise work.refuse(node, "it is dilated")
    more = work.told(node, "output_padding", [0, 0])
    if any(m and m >= s for m, s in zip(more, strides, strict=True)):
        raise work.refuse(node, "it pads its output by a stride or more")
    group = work.told(node, "group", 1)
    full = _ungrouped(weight, group)
    sides = [
        s * (n - 1) + k + m
        for n, s, k, m in zip(x.shape[1:3], strides, full.shape[2:], more, strict=True)
    ]
    shape = (x.shape[0], *sides, full.shape[1])
    y = work.op(
        "TRANSPOSE_CONV",
        [
            work.numbers(*shape),
            work.constant(full.transpose(1, 2, 3, 0)),
            x,
            work.constant(np.zeros(full.shape[1]) if bias is None else bias),
        ],
        shape,
        padding="VALID",
        strideH=strides[0],
        strideW=strides[1],
        fusedActivationFunction="NONE",
    )
    begin = [0, *(before for before, _ in pads), 0]
    size = [n - before - after for n, (before, after) in zip(sides, pads, strict=True)]
    work.keep_image(node.output[0], cut(work, y, begin, (shape[0], *size, shape[3])))


def _ungrouped(weight: NDArray, group: int) -> NDArray:
    """Weights ``[in, out, h, w]`` of a transposed convolution whose groups are zeros elsewhere."""
    ins, outs = len(weight) // group, weight.shape[1]
    full = np.zeros((len(weight), outs * group, *weight.shape[2:]), weight.dtype)
    for n in range(group):
        rows = slice(n * ins, (n + 1) * ins)
        full[rows, n * outs : (n + 1) * outs] = weight[rows]
    return full


def _pool(work: Lowering, node: onnx.NodeProto) -> None:
    kernel = work.told(node, "kernel_shape")
    if len(kernel) != 2:
        raise work.refuse(node, "it is not of two dimensions")
    if len(node.output) > 1 and node.output[1]:
        raise work.refuse(node, "it returns places")
    x = work.image(node.input[0])
    strides, dilations, pads = _window(work, node, kernel, x.shape[1:3])
    if any(d != 1 for d in dilations):
        raise work.refuse(node, "it is dilated")
    n, c, *sides = work.shapes[node.output[0]]
    pads = [  # rounding up reaches further
        (before, max(after, (out - 1) * s + k - size - before))
        for (before, after), out, s, k, size in zip(
            pads, sides, strides, kernel, x.shape[1:3], strict=True
        )
    ]
    counted = None
    largest = node.op_type == "MaxPool"
    padding = _word(x, kernel, strides, dilations, pads) if largest else None
    around = [(0, 0), *pads, (0, 0)]
    if largest and padding is None:
        x = filled_around(work, x, around, _LOWEST)
    elif not largest:
        own = work.told(node, "count_include_pad", 0)
        counted = None if own else _counted(x, kernel, strides, pads, sides)
        x = zeros_around(work, x, around)
    y = work.op(
        "MAX_POOL_2D" if largest else "AVERAGE_POOL_2D", [x], (n, *sides, c),
        padding=padding or "VALID",
        strideH=strides[0], strideW=strides[1], filterHeight=kernel[0], filterWidth=kernel[1],
        fusedActivationFunction="NONE",
    )  # fmt: skip
    if counted is not None:
        y = work.op("MUL", [y, work.constant(counted)], y.shape, fusedActivationFunction="NONE")
    work.keep_image(node.output[0], y)


def _counted(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[tuple[int, int]],
    sides: Sequence[int],
) -> NDArray | None:  # fmt: skip
    """What means over windows that reach over the edge are multiplied by; None: nothing."""
    factors = []
    for n, k, s, (before, _), out in zip(x.shape[1:3], kernel, strides, pads, sides, strict=True):
        first = np.arange(out) * s - before
        inside = np.minimum(first + k, n) - np.maximum(first, 0)
        factors.append(k / inside)
    found = np.outer(*factors)[None, :, :, None]
    return None if (found == 1).all() else found


def _global_pool(work: Lowering, node: onnx.NodeProto) -> None:
    x = work.image(node.input[0])
    kind = "REDUCE_MAX" if node.op_type == "GlobalMaxPool" else "MEAN"
    shape = (x.shape[0], 1, 1, x.shape[3])
    work.keep_image(node.output[0], work.op(kind, [x, work.numbers(1, 2)], shape, keepDims=True))


def _pad(work: Lowering, node: onnx.NodeProto) -> None:
    value = work.values[node.input[0]]
    pads = work.told(node, "pads", at=1)
    axes = work.told(node, "axes", list(range(len(value.shape))), at=3)
    count = len(axes)
    pairs = {
        axis % len(value.shape): (pads[n], pads[n + count])
        for n, axis in enumerate(axes)
        if pads[n] or pads[n + count]
    }
    mode = work.told(node, "mode", "constant")
    filled = work.told(node, "value", 0.0, at=2) or 0.0
    if isinstance(filled, list):
        (filled,) = filled
    x, own, _ = work.along(value, list(pairs))
    for axis, (before, after) in zip(own, pairs.values(), strict=True):
        first, last = max(-before, 0), max(-after, 0)
        x = part(work, x, axis, first, x.shape[axis] - first - last)
        x = _bordered(work, node, x, axis, max(before, 0), max(after, 0), mode, filled)
    shape = list(value.shape)
    for axis, pair in pairs.items():
        shape[axis] += sum(pair)
    work.keep(node.output[0], x, shape, value.order)


def _bordered(
    work: Lowering, node: onnx.NodeProto, x: Tensor, axis: int, before: int, after: int,
    mode: str, filled: float,
) -> Tensor:  # fmt: skip
    if not before and not after:
        return x
    size = x.shape[axis]
    if mode == "constant":
        pads = [(0, 0)] * len(x.shape)
        pads[axis] = before, after
        return filled_around(work, x, pads, filled)
    if mode == "edge":
        places = [0] * before + [size - 1] * after
    elif mode == "reflect" and max(before, after) < size:
        places = [*range(before, 0, -1), *(size - 2 - n for n in range(after))]
    elif mode == "wrap" and max(before, after) <= size:
        places = [*range(size - before, size), *range(after)]
    else:
        raise work.refuse(node, f"a border '{mode}' wider than what it shows")
    pieces = {place: part(work, x, axis, place, 1) for place in dict.fromkeys(places)}
    lines = [pieces[place] for place in places]
    return joined(work, [*lines[:before], x, *lines[before:]], axis)


IMAGES: dict[str, Lowered] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Pad": _pad,
}
"""What writes them."""
