"""ONNX's operations on arrays in LiteRT's: views, parts, products, means and norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from srdeploy.exporting.litert.graph import RANK, Tensor
from srdeploy.exporting.litert.images import convolved, joined, part
from srdeploy.exporting.litert.layout import Value
from srdeploy.exporting.litert.lower import Lowered, Lowering
from srdeploy.exporting.litert.pointwise import binary, unary


def _view(work: Lowering, node: onnx.NodeProto) -> None:
    """Reshapes of every name."""
    shape = work.shapes[node.output[0]]
    work.values[node.output[0]] = work.reshaped(work.values[node.input[0]], shape)


def _transpose(work: Lowering, node: onnx.NodeProto) -> None:
    value = work.values[node.input[0]]
    perm = work.told(node, "perm", list(range(len(value.shape)))[::-1])
    work.values[node.output[0]] = value.transposed(perm)


def _concat(work: Lowering, node: onnx.NodeProto) -> None:
    names = list(node.input)
    rank = len(work.shape(names[0]))
    axis = work.told(node, "axis") % rank
    leader = max(
        (work.values[name] for name in names if name in work.values),
        key=lambda value: math.prod(value.shape),
    )
    parts = []
    for name in names:
        if name in work.values:
            tensor = work.ordered(work.values[name], leader.order)
        else:
            tensor = work.constant(work.stored[name].transpose(leader.order))
        shape = work.shape(name)
        made, (own,), _ = work.along(Value(tensor, shape, leader.order), [axis])
        parts.append(made)
    whole = list(leader.shape)
    whole[axis] = sum(work.shape(name)[axis] for name in names)
    work.keep(node.output[0], joined(work, parts, own), whole, leader.order)


def _split(work: Lowering, node: onnx.NodeProto) -> None:
    value = work.values[node.input[0]]
    axis = work.told(node, "axis", 0) % len(value.shape)
    count = len(node.output)
    each = -(-value.shape[axis] // count)
    usual = [min(each, value.shape[axis] - n * each) for n in range(count)]
    first = 0
    for name, size in zip(node.output, work.told(node, "split", usual, at=1), strict=True):
        if name:
            _kept_part(work, name, value, {axis: (first, size, 1)})
        first += size


def _slice(work: Lowering, node: onnx.NodeProto) -> None:
    value = work.values[node.input[0]]
    starts, ends = work.told(node, "starts", at=1), work.told(node, "ends", at=2)
    axes = work.told(node, "axes", list(range(len(starts))), at=3)
    steps = work.told(node, "steps", [1] * len(starts), at=4)
    found, backwards = {}, list[int]()
    for start, end, axis, by in zip(starts, ends, axes, steps, strict=True):
        axis %= len(value.shape)
        places = range(*slice(start, end, by).indices(value.shape[axis]))
        if by < 0:
            backwards.append(axis)
            places = places[::-1]
        found[axis] = places.start, len(places), places.step
    _kept_part(work, node.output[0], value, found)
    if backwards:
        value = work.values[node.output[0]]
        x, own, _ = work.along(value, backwards)
        for axis in own:
            x = work.op("REVERSE_V2", [x, work.numbers(axis)], x.shape)
        work.keep(node.output[0], x, value.shape, value.order)


def _kept_part(
    work: Lowering, name: str, value: Value, cuts: dict[int, tuple[int, int, int]]
) -> None:
    """Note a part: by axis the first place, how many, and how far apart."""
    cuts = {axis: one for axis, one in cuts.items() if one != (0, value.shape[axis], 1)}
    shape = list(value.shape)
    for axis, (_, count, _) in cuts.items():
        shape[axis] = count
    x, own, _ = work.along(value, list(cuts))
    begin, size, apart = [0] * RANK, list(x.shape), [1] * RANK
    for axis, (first, count, by) in zip(own, cuts.values(), strict=True):
        begin[axis], size[axis], apart[axis] = first, count, by
    if any(by > 1 for by in apart):
        end = [b + (n - 1) * by + 1 for b, n, by in zip(begin, size, apart, strict=True)]
        given = [x, work.numbers(*begin), work.numbers(*end), work.numbers(*apart)]
        x = work.op("STRIDED_SLICE", given, size)
    elif tuple(size) != x.shape:
        x = work.op("SLICE", [x, work.numbers(*begin), work.numbers(*size)], size)
    work.keep(name, x, shape, value.order)


def _gather(work: Lowering, node: onnx.NodeProto) -> None:
    name, places = node.input
    if places not in work.stored or name not in work.values:
        raise work.refuse(node, "at computed places")
    value, indices = work.values[name], work.stored[places]
    axis = work.told(node, "axis", 0) % len(value.shape)
    chosen = [int(n) % value.shape[axis] for n in indices.ravel()]
    runs: list[list[int]] = []  # first, how many
    for place in chosen:
        if runs and place == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([place, 1])
    x, (own,), _ = work.along(value, [axis])
    made = joined(work, [part(work, x, own, *run) for run in runs], own)
    shape = list(value.shape)
    shape[axis] = len(chosen)
    whole = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    found = Value(made, tuple(shape), value.order)
    work.values[node.output[0]] = found if found.shape == whole else work.reshaped(found, whole)


def _expand(work: Lowering, node: onnx.NodeProto) -> None:
    shape = work.shapes[node.output[0]]
    value = work.values[node.input[0]].widened(len(shape))
    times = [new // old for old, new in zip(value.shape, shape, strict=True)]
    work.values[node.output[0]] = _repeated(work, value, times)


def _tile(work: Lowering, node: onnx.NodeProto) -> None:
    times = work.told(node, "repeats", at=1)
    work.values[node.output[0]] = _repeated(work, work.values[node.input[0]], times)


def _repeated(work: Lowering, value: Value, times: Sequence[int]) -> Value:
    axes = [axis for axis, n in enumerate(times) if n != 1]
    x, own, _ = work.along(value, axes)
    each = [1] * RANK
    for axis, n in zip(own, axes, strict=True):
        each[axis] = times[n]
    if axes:
        shape = [n * m for n, m in zip(x.shape, each, strict=True)]
        x = work.op("TILE", [x, work.numbers(*each)], shape)
    shape = [n * m for n, m in zip(value.shape, times, strict=True)]
    return Value(x, tuple(shape), value.order)


def _reduce(kind: str) -> Lowered:
    def lowered(work: Lowering, node: onnx.NodeProto) -> None:
        value = work.values[node.input[0]]
        rank = len(value.shape)
        axes = work.told(node, "axes", list(range(rank)), at=1)
        axes = [axis % rank for axis in axes]
        found = _reduced(work, value, axes, kind)
        if not work.told(node, "keepdims", 1):
            shape = tuple(n for axis, n in enumerate(value.shape) if axis not in axes)
            found = work.reshaped(found, shape)
        work.values[node.output[0]] = found

    return lowered


def _norm(work: Lowering, node: onnx.NodeProto) -> None:
    """``sqrt(sum(x * x))``, or without the root."""
    value = work.values[node.input[0]]
    squares = binary(work, "MUL", value.tensor, value.tensor, value.tensor.shape)
    work.values[node.input[0]] = Value(squares, value.shape, value.order)
    _reduce("SUM")(work, node)
    work.values[node.input[0]] = value
    if node.op_type == "ReduceL2":
        found = work.values[node.output[0]]
        root = unary(work, "SQRT", found.tensor)
        work.values[node.output[0]] = Value(root, found.shape, found.order)


def _reduced(work: Lowering, value: Value, axes: Sequence[int], kind: str) -> Value:
    """One value in place of those along axes."""
    x, own, _ = work.along(value, axes)
    small = [1 if axis in own else n for axis, n in enumerate(x.shape)]
    made = work.op(kind, [x, work.numbers(*sorted(own))], small, keepDims=True)
    shape = tuple(1 if axis in axes else n for axis, n in enumerate(value.shape))
    return Value(made, shape, value.order)


def _last(work: Lowering, value: Value, axes: Sequence[int]) -> Value:
    """A value with axes last in memory."""
    order = (*(axis for axis in value.order if axis not in axes), *axes)
    return Value(work.ordered(value, order), value.shape, order)


def _softmax(work: Lowering, node: onnx.NodeProto) -> None:
    value = work.values[node.input[0]]
    axis = work.told(node, "axis", -1) % len(value.shape)
    value = _last(work, value, [axis])
    count = value.shape[axis]
    x = work.viewed(value.tensor, (1, 1, math.prod(value.shape) // count, count))
    made = work.op("SOFTMAX", [x], x.shape, beta=1.0)
    work.keep(node.output[0], made, value.shape, value.order)


def times_matrix(
    work: Lowering, value: Value, axis: int, matrix: NDArray, bias: NDArray | None = None
) -> Value:
    """A product with a stored matrix ``[out, in]`` along an axis, by a convolution of 1x1."""
    value = _last(work, value, [axis])
    count = value.shape[axis]
    x = work.viewed(value.tensor, (1, 1, math.prod(value.shape) // count, count))
    made = convolved(work, x, matrix[:, :, None, None], bias)
    shape = tuple(len(matrix) if n == axis else size for n, size in enumerate(value.shape))
    return Value(made, shape, value.order)


def _matmul(work: Lowering, node: onnx.NodeProto) -> None:
    first, second = node.input[:2]
    if second in work.stored and work.stored[second].ndim == 2:
        value = work.values[first]
        axis = len(value.shape) - 1
        work.values[node.output[0]] = times_matrix(work, value, axis, work.stored[second].T)
        return
    if first in work.stored and work.stored[first].ndim == 2 and len(work.shape(second)) > 1:
        value = work.values[second]
        axis = len(value.shape) - 2
        work.values[node.output[0]] = times_matrix(work, value, axis, work.stored[first])
        return
    shapes = [work.shape(first), work.shape(second)]
    rank = max(map(len, shapes))
    if min(map(len, shapes)) < 2:
        raise work.refuse(node, "with a vector")
    batch = tuple(np.broadcast_shapes(*(shape[:-2] for shape in shapes)))
    given = []
    for name, shape in zip((first, second), shapes, strict=True):
        wide = (1,) * (rank - len(shape)) + tuple(shape)
        if wide[:-2] != batch and math.prod(wide[:-2]) != 1:
            raise work.refuse(node, "whose batches are repeated")
        given.append((name, range(len(shape)), (math.prod(wide[:-2]), *wide[-2:])))
    made = _product(work, *given)
    shape = (*batch, *made.shape[2:])
    work.keep(node.output[0], made, shape, range(len(shape)))


def _product(work: Lowering, *given: tuple[str, Sequence[int], tuple[int, ...]]) -> Tensor:
    """A product of two lists of matrices ``[1, B, M, N]``.

    Args:
        work: The program.
        given: Of both the name, the order of its axes, and what they are together.
    """
    tensors = []
    for name, order, shape in given:
        if name in work.values:
            tensor = work.ordered(work.values[name], order)
        else:
            tensor = work.constant(work.stored[name].transpose(tuple(order)))
        tensors.append(work.viewed(tensor, (1, *shape)))
    (batch, rows, _), (other, _, columns) = (shape for _, _, shape in given)
    size = (1, max(batch, other), rows, columns)
    return work.op("BATCH_MATMUL", tensors, size, adjX=False, adjY=False)


def _einsum(work: Lowering, node: onnx.NodeProto) -> None:
    """A sum of products of two arrays: axes in both and in the result are a list of matrices."""
    equation = work.told(node, "equation").replace(" ", "")
    sides, arrow, result = equation.partition("->")
    terms = sides.split(",")
    if "." in equation or not arrow or len(terms) != 2 or any(len(set(t)) != len(t) for t in terms):
        raise work.refuse(node, f"of the form '{equation}'")
    left, right = terms
    if (set(left) ^ set(right)) - set(result):
        raise work.refuse(node, f"of the form '{equation}'")
    sizes = {
        axis: size
        for name, term in zip(node.input, terms, strict=True)
        for axis, size in zip(term, work.shape(name), strict=True)
    }
    batch = [axis for axis in left if axis in right and axis in result]
    summed = [axis for axis in left if axis in right and axis not in result]
    rows = [axis for axis in left if axis not in right]
    columns = [axis for axis in right if axis not in left]

    def lying(name: str, term: str, *parts: list[str]) -> tuple[str, list[int], tuple[int, ...]]:
        order = [term.index(axis) for part in parts for axis in part]
        return name, order, tuple(math.prod(sizes[axis] for axis in part) for part in parts)

    first, second = node.input
    made = _product(
        work, lying(first, left, batch, rows, summed), lying(second, right, batch, summed, columns)
    )
    axes = [*batch, *rows, *columns]
    shape = [sizes[axis] for axis in result]
    work.keep(node.output[0], made, shape, [result.index(axis) for axis in axes])


def _gemm(work: Lowering, node: onnx.NodeProto) -> None:
    first, second, *rest = node.input
    if second not in work.stored or any(name not in work.stored for name in rest if name):
        raise work.refuse(node, "with a computed matrix")
    matrix = work.stored[second] * work.told(node, "alpha", 1.0)
    matrix = matrix if work.told(node, "transB", 0) else matrix.T
    bias = None
    if rest and rest[0]:
        bias = work.stored[rest[0]].ravel() * work.told(node, "beta", 1.0)
        bias = np.broadcast_to(bias, len(matrix))
    value = work.values[first]
    value = value.transposed((1, 0)) if work.told(node, "transA", 0) else value
    work.values[node.output[0]] = times_matrix(work, value, 1, matrix, bias)


def _normalised(
    work: Lowering, value: Value, axes: Sequence[int], epsilon: float
) -> tuple[Tensor, Value]:
    """``(x - mean) / sqrt(variance + epsilon)`` along axes."""
    x, _, _ = work.along(value, axes)
    value = Value(x, value.shape, value.order)
    mean = _reduced(work, value, axes, "MEAN").tensor
    centred = binary(work, "SUB", x, mean, x.shape)
    squares = binary(work, "MUL", centred, centred, x.shape)
    variance = _reduced(work, Value(squares, value.shape, value.order), axes, "MEAN").tensor
    spread = unary(work, "RSQRT", binary(work, "ADD", variance, epsilon, variance.shape))
    return binary(work, "MUL", centred, spread, x.shape), value


def _scaled(
    work: Lowering, made: Tensor, value: Value, parameters: Sequence[NDArray | None]
) -> Value:
    """Factors and summands, each with a place for each axis of ONNX's shape."""
    for kind, values in zip(("MUL", "ADD"), parameters, strict=True):
        if values is None or (values == (kind == "MUL")).all():
            continue
        lying = values.transpose(value.order)
        known = Value(made, value.shape, value.order)
        shape = list(made.shape)
        if lying.size == shape[-1] and lying.shape[-1] == lying.size:
            other = work.constant(lying.ravel())
        else:
            whole = np.broadcast_to(lying, known.in_memory)
            other = work.constant(whole.reshape(shape))
        made = binary(work, kind, made, other, made.shape)
    return Value(made, value.shape, value.order)


def _layer_norm(work: Lowering, node: onnx.NodeProto) -> None:
    name, *parameters = node.input
    value = work.values[name]
    rank = len(value.shape)
    axis = work.told(node, "axis", -1) % rank
    if any(one not in work.stored for one in parameters if one):
        raise work.refuse(node, "with computed factors")
    axes = list(range(axis, rank))
    made, value = _normalised(work, value, axes, work.told(node, "epsilon", 1e-5))
    found = [
        work.stored[one].reshape((1,) * (rank - work.stored[one].ndim) + work.stored[one].shape)
        if one
        else None
        for one in (*parameters, "", "")[:2]
    ]
    work.values[node.output[0]] = _scaled(work, made, value, found)


def _instance_norm(work: Lowering, node: onnx.NodeProto) -> None:
    name, *parameters = node.input
    value = work.values[name]
    if any(one not in work.stored for one in parameters):
        raise work.refuse(node, "with computed factors")
    axes = list(range(2, len(value.shape)))
    made, value = _normalised(work, value, axes, work.told(node, "epsilon", 1e-5))
    shape = (1, -1, *[1] * len(axes))
    found = [work.stored[one].reshape(shape) for one in parameters]
    work.values[node.output[0]] = _scaled(work, made, value, found)


def _batch_norm(work: Lowering, node: onnx.NodeProto) -> None:
    name, *parameters = node.input
    if any(one not in work.stored for one in parameters):
        raise work.refuse(node, "with computed factors")
    factor, shift, mean, variance = (work.stored[one].astype(np.float64) for one in parameters)
    times = factor / np.sqrt(variance + work.told(node, "epsilon", 1e-5))
    value = work.values[name]
    shape = (1, -1, *[1] * (len(value.shape) - 2))
    found = [one.reshape(shape) for one in (times, shift - mean * times)]
    work.values[node.output[0]] = _scaled(work, value.tensor, value, found)


ARRAYS: dict[str, Lowered] = {
    "Reshape": _view,
    "Flatten": _view,
    "Squeeze": _view,
    "Unsqueeze": _view,
    "Transpose": _transpose,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
    "ReduceMean": _reduce("MEAN"),
    "ReduceSum": _reduce("SUM"),
    "ReduceMax": _reduce("REDUCE_MAX"),
    "ReduceMin": _reduce("REDUCE_MIN"),
    "ReduceL2": _norm,
    "ReduceSumSquare": _norm,
    "Softmax": _softmax,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "InstanceNormalization": _instance_norm,
    "BatchNormalization": _batch_norm,
}
"""What writes them."""
