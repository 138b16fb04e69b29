"""ONNX's operations on single values in LiteRT's.

Delegates have no SELECT, no erf, and do not take comparisons everywhere: those are written with
sums, products and limits. What is true is 1, what is false 0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from srdeploy.exporting.litert.graph import Tensor
from srdeploy.exporting.litert.lower import Lowered, Lowering

_FUSED = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "SUB", "MUL")
"""Operations that end in an activation if told."""

_LARGER, _TIMES = 2.0**15, 3
"""A difference is made so much larger, so many times, to compare with 0: exact for what differs by
more than 1e-13, in steps that half floats hold."""

_ERF = (
    1.12837971, 0.102765481, -1.8438295e-4, -6.2572031e-4, 8.97128728e-5, -5.98574063e-6,
    1.58963256e-7,
)  # fmt: skip
"""Of the square of x, rising: the polynomial of :func:`error_function`, within 2e-7 of erf."""

_ERF_MOST = 4.0


def binary(work: Lowering, kind: str, x: Tensor, y: Tensor | float, shape: Sequence[int]) -> Tensor:
    """An operation on two operands that fit each other; a number stands for a constant."""
    if not isinstance(y, Tensor):
        y = work.constant(np.array([y]))
    options = {"fusedActivationFunction": "NONE"} if kind in ("ADD", "SUB", "MUL", "DIV") else {}
    return work.op(kind, [x, y], shape, **options)


def unary(work: Lowering, kind: str, x: Tensor) -> Tensor:
    """An operation on one."""
    return work.op(kind, [x], x.shape)


def limited(work: Lowering, x: Tensor, low: float | None, high: float | None) -> Tensor:
    """Values within limits."""
    if (low, high) == (0.0, 6.0):
        return unary(work, "RELU6", x)
    if (low, high) == (-1.0, 1.0):
        return unary(work, "RELU_N1_TO_1", x)
    if low is not None:
        x = unary(work, "RELU", x) if low == 0 else binary(work, "MAXIMUM", x, low, x.shape)
    return x if high is None else binary(work, "MINIMUM", x, high, x.shape)


def step(work: Lowering, x: Tensor) -> Tensor:
    """1 where a value is above 0, else 0."""
    for _ in range(_TIMES):
        x = limited(work, binary(work, "MUL", x, _LARGER, x.shape), 0.0, 1.0)
    return x


def _each(kind: str) -> Lowered:
    def lowered(work: Lowering, node: onnx.NodeProto) -> None:
        _of_one(work, node, functools.partial(unary, work, kind))

    return lowered


def _of_one(work: Lowering, node: onnx.NodeProto, made: Callable[[Tensor], Tensor]) -> None:
    value = work.values[node.input[0]]
    work.keep(node.output[0], made(value.tensor), value.shape, value.order)


def _of_several(kind: str) -> Lowered:
    def lowered(work: Lowering, node: onnx.NodeProto) -> None:
        names = list(node.input)
        if kind == "DIV" and names[1] in work.stored:
            _by_reciprocal(work, node)
            return
        (first, *others), shape, order, whole = work.aligned(names)
        for other in others:
            first = binary(work, kind, first, other, whole)
        work.keep(node.output[0], first, shape, order)

    return lowered


def _by_reciprocal(work: Lowering, node: onnx.NodeProto) -> None:
    name = f"{node.input[1]}.reciprocal"
    work.stored[name] = (1 / work.stored[node.input[1]].astype(np.float64)).astype(np.float32)
    (x, y), shape, order, whole = work.aligned([node.input[0], name])
    work.keep(node.output[0], binary(work, "MUL", x, y, whole), shape, order)


def _compared(work: Lowering, node: onnx.NodeProto, *, less: bool, turned: bool) -> None:
    (x, y), shape, order, whole = work.aligned(list(node.input))
    larger = binary(work, "SUB", y, x, whole) if less else binary(work, "SUB", x, y, whole)
    found = step(work, larger)
    work.keep(node.output[0], _opposite(work, found) if turned else found, shape, order)


def _opposite(work: Lowering, x: Tensor) -> Tensor:
    return binary(work, "ADD", binary(work, "MUL", x, -1.0, x.shape), 1.0, x.shape)


def _where(work: Lowering, node: onnx.NodeProto) -> None:
    (chosen, x, y), shape, order, whole = work.aligned(list(node.input))
    first = binary(work, "MUL", x, chosen, whole)
    second = binary(work, "MUL", y, _opposite(work, chosen), whole)
    work.keep(node.output[0], binary(work, "ADD", first, second, whole), shape, order)


def _activation(kind: str) -> Lowered:
    def lowered(work: Lowering, node: onnx.NodeProto) -> None:
        if not _fused(work, node, kind):
            _each(kind)(work, node)

    return lowered


def _fused(work: Lowering, node: onnx.NodeProto, kind: str) -> bool:
    """Whether an activation became part of the operation before it, whose result only it reads."""
    name = node.input[0]
    tensor = work.values[name].tensor
    last = work.ops[-1] if work.ops else None
    if last is None or last.output is not tensor or not work.alone(name):
        return False
    if last.kind not in _FUSED or last.options["fusedActivationFunction"] != "NONE":
        return False
    last.options["fusedActivationFunction"] = kind
    work.values[node.output[0]] = work.values[name]
    return True


def _clip(work: Lowering, node: onnx.NodeProto) -> None:
    low, high = work.told(node, "min", at=1), work.told(node, "max", at=2)
    known = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, None): "RELU"}
    kind = known.get((low, high))
    if kind is None or not _fused(work, node, kind):
        _of_one(work, node, lambda x: limited(work, x, low, high))


def _sloped(work: Lowering, x: Tensor, slope: NDArray) -> Tensor:
    return work.op("PRELU", [x, work.constant(slope)], x.shape)


def _leaky(work: Lowering, node: onnx.NodeProto) -> None:
    slope = work.told(node, "alpha", 0.01)
    _of_one(work, node, lambda x: _slope_of_one(work, x, slope))


def _slope_of_one(work: Lowering, x: Tensor, slope: float) -> Tensor:
    shape = [1] * max(len(x.shape) - 2, 0) + [x.shape[-1]]
    return _sloped(work, x, np.full(shape, slope))


def _prelu(work: Lowering, node: onnx.NodeProto) -> None:
    name, slope = node.input
    if slope not in work.stored:
        raise work.refuse(node, "its slopes are computed")
    values = work.stored[slope]
    if values.size == 1:
        _of_one(work, node, lambda x: _slope_of_one(work, x, float(values.ravel()[0])))
        return
    if len(work.shape(name)) != 4 or values.size != values.shape[-3 if values.ndim > 2 else 0]:
        raise work.refuse(node, "its slopes are not one for each channel of an image")
    x = work.image(name)
    work.keep_image(node.output[0], _sloped(work, x, values.reshape(1, 1, -1)))


def _power(work: Lowering, node: onnx.NodeProto) -> None:
    if node.input[1] in work.stored and work.stored[node.input[1]].size == 1:
        exponent = float(work.stored[node.input[1]].ravel()[0])
        if exponent == 2:
            _of_one(work, node, lambda x: binary(work, "MUL", x, x, x.shape))
            return
        if exponent == 0.5:
            _each("SQRT")(work, node)
            return
    _of_several("POW")(work, node)


def _negative(work: Lowering, node: onnx.NodeProto) -> None:
    _of_one(work, node, lambda x: binary(work, "MUL", x, -1.0, x.shape))


def _reciprocal(work: Lowering, node: onnx.NodeProto) -> None:
    _of_one(work, node, lambda x: work.op(
        "DIV", [work.constant(np.ones(1)), x], x.shape, fusedActivationFunction="NONE"
    ))  # fmt: skip


def _softplus(work: Lowering, node: onnx.NodeProto) -> None:
    def made(x: Tensor) -> Tensor:
        """``max(x, 0) + log(1 + exp(-|x|))``, which does not overflow."""
        small = binary(work, "MUL", unary(work, "ABS", x), -1.0, x.shape)
        rest = unary(work, "LOG", binary(work, "ADD", unary(work, "EXP", small), 1.0, x.shape))
        return binary(work, "ADD", unary(work, "RELU", x), rest, x.shape)

    _of_one(work, node, made)


def _hard_sigmoid(work: Lowering, node: onnx.NodeProto) -> None:
    alpha, beta = work.told(node, "alpha", 0.2), work.told(node, "beta", 0.5)

    def made(x: Tensor) -> Tensor:
        line = binary(work, "ADD", binary(work, "MUL", x, alpha, x.shape), beta, x.shape)
        return limited(work, line, 0.0, 1.0)

    _of_one(work, node, made)


def error_function(work: Lowering, x: Tensor) -> Tensor:
    """``erf(x)``, as a hyperbolic tangent of a polynomial that was fitted to it.

    ``erf(x) = tanh(x * q(x^2))`` defines q, which is smooth; beyond :data:`_ERF_MOST` both are 1.
    """
    x = limited(work, x, -_ERF_MOST, _ERF_MOST)
    square = binary(work, "MUL", x, x, x.shape)
    *others, last = _ERF
    line = binary(work, "ADD", binary(work, "MUL", square, last, x.shape), others[-1], x.shape)
    for factor in others[-2::-1]:
        line = binary(work, "ADD", binary(work, "MUL", line, square, x.shape), factor, x.shape)
    return unary(work, "TANH", binary(work, "MUL", line, x, x.shape))


def _erf(work: Lowering, node: onnx.NodeProto) -> None:
    _of_one(work, node, lambda x: error_function(work, x))


def _gelu(work: Lowering, node: onnx.NodeProto) -> None:
    def made(x: Tensor) -> Tensor:
        half = binary(work, "MUL", x, 0.5, x.shape)
        if work.told(node, "approximate", "none") == "tanh":
            cube = binary(work, "MUL", binary(work, "MUL", x, x, x.shape), x, x.shape)
            line = binary(work, "ADD", binary(work, "MUL", cube, 0.044715, x.shape), x, x.shape)
            part = unary(work, "TANH", binary(work, "MUL", line, math.sqrt(2 / math.pi), x.shape))
        else:
            part = error_function(work, binary(work, "MUL", x, math.sqrt(0.5), x.shape))
        return binary(work, "MUL", half, binary(work, "ADD", part, 1.0, x.shape), x.shape)

    _of_one(work, node, made)


def _elu(work: Lowering, node: onnx.NodeProto) -> None:
    if work.told(node, "alpha", 1.0) != 1:
        raise work.refuse(node, "its alpha is not 1")
    _each("ELU")(work, node)


def _sign(work: Lowering, node: onnx.NodeProto) -> None:
    def made(x: Tensor) -> Tensor:
        for _ in range(_TIMES):
            x = limited(work, binary(work, "MUL", x, _LARGER, x.shape), -1.0, 1.0)
        return x

    _of_one(work, node, made)


def _same(work: Lowering, node: onnx.NodeProto) -> None:
    work.values[node.output[0]] = work.values[node.input[0]]


def _cast(work: Lowering, node: onnx.NodeProto) -> None:
    kinds = onnx.TensorProto
    if work.told(node, "to") not in (kinds.FLOAT, kinds.BOOL, kinds.DOUBLE, kinds.FLOAT16):
        raise work.refuse(node, "to whole numbers")
    _same(work, node)


POINTWISE: dict[str, Lowered] = {
    "Add": _of_several("ADD"),
    "Sub": _of_several("SUB"),
    "Mul": _of_several("MUL"),
    "Div": _of_several("DIV"),
    "Sum": _of_several("ADD"),
    "Max": _of_several("MAXIMUM"),
    "Min": _of_several("MINIMUM"),
    "Pow": _power,
    "Greater": functools.partial(_compared, less=False, turned=False),
    "Less": functools.partial(_compared, less=True, turned=False),
    "GreaterOrEqual": functools.partial(_compared, less=True, turned=True),
    "LessOrEqual": functools.partial(_compared, less=False, turned=True),
    "And": _of_several("MUL"),
    "Or": _of_several("MAXIMUM"),
    "Not": lambda work, node: _of_one(work, node, lambda x: _opposite(work, x)),
    "Where": _where,
    "Relu": _activation("RELU"),
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "PRelu": _prelu,
    "Sigmoid": _each("LOGISTIC"),
    "Tanh": _each("TANH"),
    "Exp": _each("EXP"),
    "Log": _each("LOG"),
    "Sqrt": _each("SQRT"),
    "Abs": _each("ABS"),
    "Elu": _elu,
    "HardSwish": _each("HARD_SWISH"),
    "HardSigmoid": _hard_sigmoid,
    "Floor": _each("FLOOR"),
    "Neg": _negative,
    "Reciprocal": _reciprocal,
    "Softplus": _softplus,
    "Erf": _erf,
    "Gelu": _gelu,
    "Sign": _sign,
    "Cast": _cast,
    "Identity": _same,
    "Dropout": _same,
}
"""What writes them."""
