"""ONNX's Resize in LiteRT's operations.

Along each axis an interpolation is a matrix: which input values make an output value, and with
which weights. LiteRT's own two resizes, in their three ways to lay out pixels, are matrices too;
where one is that of ONNX it is taken. Else, of a whole factor, a convolution makes all phases of a
pixel and a shuffle lays them out; and whatever is left is two products with matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from srdeploy.exporting.litert.arrays import times_matrix
from srdeploy.exporting.litert.graph import Tensor
from srdeploy.exporting.litert.images import convolved, joined, part
from srdeploy.exporting.litert.layout import Value
from srdeploy.exporting.litert.lower import IMAGE, Lowered, Lowering
from srdeploy.exporting.litert.shuffles import chosen_channels, shuffle_order

_EQUAL = 1e-6
"""Largest difference of weights that are the same but for float32's rounding."""

_FEW = 8
"""Channels up to which a convolution makes the phases of all of them at once."""

_ROUNDED: dict[str, Callable[[NDArray], NDArray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}
"""ONNX's ``nearest_mode``."""

_WAYS: tuple[dict[str, bool], ...] = ({}, {"halfPixelCenters": True}, {"alignCorners": True})


def _resize(work: Lowering, node: onnx.NodeProto) -> None:
    value, shape = work.values[node.input[0]], work.shapes[node.output[0]]
    if len(shape) != 4 or shape[:2] != value.shape[:2]:
        raise work.refuse(node, "it changes more than height and width")
    if work.told(node, "antialias", 0) or work.told(node, "exclude_outside", 0):
        raise work.refuse(node, "it weighs what lies around a pixel otherwise")
    scales = _scales(work, node, value.shape[2:], shape[2:])
    matrices = [
        interpolation(
            n, out, scale, mode=work.told(node, "mode", "nearest"),
            place=work.told(node, "coordinate_transformation_mode", "half_pixel"),
            nearest=work.told(node, "nearest_mode", "round_prefer_floor"),
            cubic=work.told(node, "cubic_coeff_a", -0.75),
        )
        for n, out, scale in zip(value.shape[2:], shape[2:], scales, strict=True)
    ]  # fmt: skip
    if any(matrix is None for matrix in matrices):
        raise work.refuse(node, "in a way of laying out pixels that is not known here")
    x = work.image(node.input[0])
    size = (x.shape[0], *shape[2:], x.shape[3])
    work.keep_image(node.output[0], resized(work, x, matrices, size))


def _scales(
    work: Lowering, node: onnx.NodeProto, before: Sequence[int], after: Sequence[int]
) -> list[float]:
    at = 1 if node.op_type == "Upsample" else 2
    told = work.told(node, "scales", at=at)
    sizes = len(node.input) > 3 and node.input[3]
    if told and not sizes:
        return [float(one) for one in told[-2:]]
    return [out / n for n, out in zip(before, after, strict=True)]


def resized(work: Lowering, x: Tensor, matrices: Sequence[Any], size: Sequence[int]) -> Tensor:
    """An image after an interpolation along height and width."""
    sides = list(zip(x.shape[1:3], size[1:3], strict=True))
    for kind, made in (("RESIZE_NEAREST_NEIGHBOR", _nearest), ("RESIZE_BILINEAR", _bilinear)):
        for way in _WAYS:
            own = [made(n, out, **way) for n, out in sides]
            if all(_equal(one, two) for one, two in zip(own, matrices, strict=True)):
                told = {"alignCorners": False, "halfPixelCenters": False} | way
                return work.op(kind, [x, work.numbers(*size[1:3])], size, **told)
    if (phases := _phases(matrices)) is not None:
        return _by_phases(work, x, *phases)
    value = Value(x, (size[0], x.shape[3], *x.shape[1:3]), IMAGE)
    for axis, matrix in zip((2, 3), matrices, strict=True):
        value = times_matrix(work, value, axis, matrix)
    return work.viewed(work.ordered(value, IMAGE), size)


def interpolation(
    size: int, out: int, scale: float, *, mode: str, place: str, nearest: str, cubic: float
) -> NDArray | None:
    """The matrix ``[out, size]`` of ONNX's Resize along one axis; None: a way not known here.

    As the definition of the operator says (onnx/onnx, docs/Operators.md, Resize).
    """
    where = np.arange(out, dtype=np.float64)
    match place:
        case "asymmetric":
            at = where / scale
        case "half_pixel":
            at = (where + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            at = (where + 0.5) / scale - 0.5 if out > 1 else where * 0
        case "align_corners":
            at = where * (size - 1) / (out - 1) if out > 1 else where * 0
        case _:
            return None
    match mode:
        case "nearest":
            rounded = _ROUNDED.get(nearest)
            taps = None if rounded is None else [(rounded(at), np.ones(out))]
        case "linear":
            low = np.floor(at)
            taps = [(low, 1 - (at - low)), (low + 1, at - low)]
        case "cubic":
            low = np.floor(at)
            taps = [(low + n, _cubic(at - low - n, cubic)) for n in (-1, 0, 1, 2)]
        case _:
            return None
    return None if taps is None else _matrix(taps, out, size)


def _cubic(distance: NDArray, a: float) -> NDArray:
    """Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 15."""
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _matrix(taps: Sequence[tuple[NDArray, NDArray]], out: int, size: int) -> NDArray:
    """Weights by place; what lies outside is the nearest pixel."""
    found = np.zeros((out, size))
    for places, weights in taps:
        inside = np.clip(places, 0, size - 1).astype(int)
        np.add.at(found, (np.arange(out), inside), weights)
    return found


def _starts(size: int, out: int, **way: bool) -> NDArray:
    """Where LiteRT reads, in its own float32 (tflite/kernels/internal/reference/resize_*.h)."""
    one = np.float32(1)
    corners = way.get("alignCorners") and out > 1
    scale = (
        np.float32(size - 1) / np.float32(out - 1)
        if corners
        else np.float32(size) / np.float32(out)
    )
    where = np.arange(out, dtype=np.float32)
    if way.get("halfPixelCenters"):
        return (where + one / 2) * scale
    return where * scale


def _nearest(size: int, out: int, **way: bool) -> NDArray:
    at = _starts(size, out, **way)
    places = np.floor(at + np.float32(0.5)) if way.get("alignCorners") else np.floor(at)
    return _matrix([(places, np.ones(out))], out, size)


def _bilinear(size: int, out: int, **way: bool) -> NDArray:
    at = _starts(size, out, **way).astype(np.float64) - (0.5 if way.get("halfPixelCenters") else 0)
    low = np.floor(at)
    return _matrix([(low, 1 - (at - low)), (low + 1, at - low)], out, size)


def _equal(one: NDArray, two: NDArray) -> bool:
    return one.shape == two.shape and float(np.abs(one - two).max()) < _EQUAL * one.shape[1]


def _phases(matrices: Sequence[NDArray]) -> tuple[int, int, list[NDArray]] | None:
    """Of an enlargement by a whole factor: it, how far it reaches, and the weights of each phase.

    None: it is none, or its edges are not those of an image that is continued.
    """
    factors = {len(matrix) / matrix.shape[1] for matrix in matrices}
    (factor, *others) = factors
    if others or factor != int(factor) or factor < 2:
        return None
    times, found = int(factor), []
    reach = 0
    for matrix in matrices:
        size = matrix.shape[1]
        middle = size // 2
        rows = matrix[middle * times : (middle + 1) * times]
        used = np.flatnonzero(np.abs(rows).max(axis=0) > 0) - middle
        reach = max(reach, int(np.abs(used).max()))
    for matrix in matrices:
        size = matrix.shape[1]
        middle = size // 2
        if size < 2 * reach + 2:
            return None
        rows = matrix[middle * times : (middle + 1) * times]
        weights = rows[:, middle - reach : middle + reach + 1]
        taps = [
            (np.arange(size).repeat(times) + n - reach, np.tile(weights[:, n], size))
            for n in range(2 * reach + 1)
        ]
        if np.abs(_matrix(taps, size * times, size) - matrix).max() > _EQUAL:
            return None
        found.append(weights)
    return times, reach, found


def _by_phases(work: Lowering, x: Tensor, times: int, reach: int, phases: list[NDArray]) -> Tensor:
    for axis in (1, 2):
        first, last = part(work, x, axis, 0, 1), part(work, x, axis, x.shape[axis] - 1, 1)
        x = joined(work, [*[first] * reach, x, *[last] * reach], axis)
    kernel = np.einsum("ik,jl->ijkl", *phases).reshape(times**2, *[2 * reach + 1] * 2)
    n, h, w, c = x.shape
    shape = (n, h - 2 * reach, w - 2 * reach, c * times**2)
    if c <= _FEW:  # phases first, as LiteRT shuffles
        weight = np.einsum("pkl,oc->pockl", kernel, np.eye(c))
        y = convolved(work, x, weight.reshape(-1, c, *kernel.shape[1:]), shape=shape)
    else:
        y = work.op(
            "DEPTHWISE_CONV_2D",
            [
                x,
                work.constant(np.tile(kernel.transpose(1, 2, 0), c)[None]),
                work.constant(np.zeros(c * times**2)),
            ],
            shape, padding="VALID", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1,
            depthMultiplier=times**2, fusedActivationFunction="NONE",
        )  # fmt: skip
        y = chosen_channels(work, y, shuffle_order(c, times))
    size = (n, shape[1] * times, shape[2] * times, c)
    return work.op("DEPTH_TO_SPACE", [y], size, blockSize=times)


RESIZES: dict[str, Lowered] = {"Resize": _resize, "Upsample": _resize}
"""What writes them."""
