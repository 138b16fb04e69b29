"""The precisions of a LiteRT program: float16 and 8-bit weights, and 8 bits throughout.

LiteRT's 8 bits (its "8-bit quantization specification"): activations of 256 steps with a zero
point, weights of -127..127 with a scale for each output channel, biases of 32 bits at the product
of both scales. What moves values about keeps its input's grid; sigmoid, tanh and softmax have grids
of their own. An operation that is not computed in 8 bits (or is to be spared) stands between
DEQUANTIZE and QUANTIZE.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from srdeploy.exporting.litert.graph import Grid, Op, Program, Tensor
from srdeploy.exporting.precision.quantise_graph import quantise_weights
from srdeploy.models.quantised import Range

WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0}
"""Operations with weights, second input, and the weights' axis of output channels."""

_OWN = frozenset((*WEIGHTED, "ADD", "SUB", "MUL", "PRELU", "MEAN", "BATCH_MATMUL", "RELU", "RELU6"))
"""In 8 bits, with any grid for the result."""

_SAME = frozenset(
    (
        *("RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "PAD", "PADV2", "TILE"),
        *("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
        *("CONCATENATION", "MAXIMUM", "MINIMUM", "MAX_POOL_2D", "AVERAGE_POOL_2D", "REDUCE_MAX"),
        *("REDUCE_MIN", "RELU_N1_TO_1"),
    )
)
"""In 8 bits, with one grid for what is read and made."""

_FIXED = {
    "LOGISTIC": Grid((1 / 256,), (-128,)),
    "SOFTMAX": Grid((1 / 256,), (-128,)),
    "TANH": Grid((1 / 128,), (0,)),
}
"""In 8 bits, with this grid for the result."""

_FOLLOWS = _SAME | {"RELU", "RELU6", "PRELU"}
"""What stays in float after a float operation: alone it would gain nothing in 8 bits."""

_OVERSHOOT = 0.5
"""Share of the value range by which pictures may leave it; there they are clipped anyway."""

_MOST_BIAS = 2**30


def can_be_int8(kind: str) -> bool:
    """Whether an operation is computed in 8 bits where it is wanted."""
    return kind in _OWN or kind in _SAME or kind in _FIXED


def with_half_weights(program: Program) -> Program:
    """All stored numbers in float16; a DEQUANTIZE, which delegates take away, gives them back."""
    ops: list[Op] = []
    halves: dict[int, Tensor] = {}
    for op in program.ops:
        inputs = []
        for tensor in op.inputs:
            if tensor.data is not None and tensor.dtype == "float32":
                if id(tensor) not in halves:
                    half = _half(tensor)
                    halves[id(tensor)] = whole = Tensor(tensor.name, tensor.shape)
                    ops.append(Op("DEQUANTIZE", [half], whole, layer=op.layer))
                tensor = halves[id(tensor)]
            inputs.append(tensor)
        ops.append(replace(op, inputs=inputs))
    return Program(program.input, program.output, ops)


def _half(tensor: Tensor) -> Tensor:
    assert tensor.data is not None
    most = np.finfo(np.float16).max
    data = np.clip(tensor.data, -most, most).astype(np.float16)
    return Tensor(f"{tensor.name}.half", tensor.shape, "float16", data)


def with_byte_weights(program: Program) -> Program:
    """Convolutions with 8-bit weights, whose inputs LiteRT rounds while it runs."""
    ops = []
    for op in program.ops:
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weight, _ = _byte_weights(op)
            op = replace(op, inputs=[op.inputs[0], weight, *op.inputs[2:]])
        ops.append(op)
    return Program(program.input, program.output, ops)


def _byte_weights(op: Op, least: NDArray | float = 0.0) -> tuple[Tensor, NDArray]:
    """Weights in steps, and their scales, each at least so large."""
    tensor, axis = op.inputs[1], WEIGHTED[op.kind]
    assert tensor.data is not None
    _, scales = quantise_weights(tensor.data, axis)
    scales = np.maximum(scales, least).astype(np.float32)
    grid = Grid(tuple(map(float, scales)), (0,) * len(scales), axis)
    data = grid.steps(tensor.data, -127, 127, np.int8)
    return Tensor(tensor.name, tensor.shape, "int8", data, grid), scales


def grid_of(interval: Range) -> Grid:
    """256 steps on an interval."""
    scale, zero = interval.grid("uint8")
    return Grid((float(scale),), (int(zero) - 128,))


class Quantiser:
    """Writes 8 bits into a program.

    Args:
        program: float32.
        ranges: Of its computed tensors, by name.
        value_range: Pixels run from 0 to this; the result has its steps there.
        spared: Layers to leave in float32.
        ends: The input and the result are 8 bits, too.
    """

    def __init__(
        self,
        program: Program,
        ranges: Mapping[str, Range],
        *,
        value_range: float,
        spared: Collection[str] = (),
        ends: bool = False,
    ) -> None:
        self._program, self._ends = program, ends
        self._ops: list[Op] = []
        self._floats: dict[int, Tensor] = {}
        self._bytes: dict[int, Tensor] = {}
        self._made_in_float: set[int] = set()
        self._spared = set(spared)
        self._grids = _grids(program, ranges, value_range)

    def written(self) -> Program:
        """The program."""
        given = self._program.input
        if self._ends:
            self._bytes[id(given)] = first = self._byte_tensor(given)
        else:
            self._floats[id(given)] = first = given
        for op in self._program.ops:
            if self._in_float(op):
                self._write_float(op)
            else:
                self._write_bytes(op)
        last = self._program.output
        result = self._as_bytes(last) if self._ends else self._as_float(last)
        return Program(first, result, self._ops)

    def float_ops(self) -> list[Op]:
        """Operations of the float program that stay so; after :meth:`written`."""
        return [op for op in self._program.ops if id(op.output) in self._made_in_float]

    def _in_float(self, op: Op) -> bool:
        if not can_be_int8(op.kind) or (op.layer in self._spared and op.kind not in _SAME):
            return True
        return op.kind in _FOLLOWS and all(id(one) in self._made_in_float for one in op.computed())

    def _write_float(self, op: Op) -> None:
        self._made_in_float.add(id(op.output))
        inputs = [self._as_float(one) if one.data is None else one for one in op.inputs]
        self._ops.append(replace(op, inputs=inputs))
        self._floats[id(op.output)] = op.output

    def _write_bytes(self, op: Op) -> None:
        inputs = [self._as_bytes(one) if one.data is None else one for one in op.inputs]
        output = self._byte_tensor(op.output)
        if op.kind in _FIXED:
            own = _FIXED[op.kind]
            made = Tensor(f"{op.output.name}.own", output.shape, "int8", grid=own)
            self._ops.append(replace(op, inputs=inputs, output=made))
            if output.grid == own:
                self._bytes[id(op.output)] = made
                return
            self._ops.append(Op("QUANTIZE", [made], output, layer=op.layer))
        else:
            if op.kind in WEIGHTED:
                inputs = self._with_weights(op, inputs)
            else:
                inputs = [self._stored(op, one, output) for one in inputs]
            self._ops.append(replace(op, inputs=inputs, output=output))
        self._bytes[id(op.output)] = output

    def _with_weights(self, op: Op, inputs: list[Tensor]) -> list[Tensor]:
        image = next(one for one in inputs if one.data is None)
        bias = inputs[-1]
        assert image.grid is not None
        assert bias.data is not None
        step = image.grid.scale[0]
        weight, scales = _byte_weights(op, np.abs(bias.data) / (_MOST_BIAS * step))
        grid = Grid(tuple(map(float, step * scales.astype(np.float64))), (0,) * len(scales))
        data = grid.steps(bias.data, -(2**31) + 1, 2**31 - 1, np.int32)
        rounded = Tensor(bias.name, bias.shape, "int32", data, grid)
        changed = {id(op.inputs[1]): weight, id(bias): rounded}
        return [changed.get(id(one), one) for one in inputs]

    def _stored(self, op: Op, tensor: Tensor, output: Tensor) -> Tensor:
        """A constant in 8 bits, of an operation that has one."""
        if tensor.data is None or tensor.dtype != "float32":
            return tensor
        if op.kind in _SAME:
            assert output.grid is not None
            grid = output.grid
        else:
            low, high = float(tensor.data.min()), float(tensor.data.max())
            grid = grid_of(Range(min(low, 0.0), max(high, 0.0)))
        data = grid.steps(tensor.data, -128, 127, np.int8)
        return Tensor(tensor.name, tensor.shape, "int8", data, grid)

    def _byte_tensor(self, tensor: Tensor) -> Tensor:
        return Tensor(f"{tensor.name}.int8", tensor.shape, "int8", grid=self._grids[id(tensor)])

    def _as_bytes(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._bytes:
            made = self._byte_tensor(tensor)
            self._ops.append(Op("QUANTIZE", [self._floats[id(tensor)]], made, layer=tensor.name))
            self._bytes[id(tensor)] = made
        return self._bytes[id(tensor)]

    def _as_float(self, tensor: Tensor) -> Tensor:
        if id(tensor) not in self._floats:
            made = Tensor(tensor.name, tensor.shape)
            self._ops.append(Op("DEQUANTIZE", [self._bytes[id(tensor)]], made, layer=tensor.name))
            self._floats[id(tensor)] = made
        return self._floats[id(tensor)]


def _grids(program: Program, ranges: Mapping[str, Range], value_range: float) -> dict[int, Grid]:
    """The grid of every computed tensor: one for all that must share theirs."""
    parent: dict[int, int] = {}
    intervals: dict[int, Range] = {}

    def find(key: int) -> int:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for tensor in program.tensors():
        if tensor.data is None:
            intervals[id(tensor)] = ranges[tensor.name]
    fixed = {id(op.output): op for op in program.ops if op.kind in _FIXED}
    for op in program.ops:
        if op.kind not in _SAME:
            continue
        for one in op.computed():
            parent[find(id(one))] = find(id(op.output))
        for one in op.inputs:
            if one.data is not None and one.dtype == "float32":
                low, high = float(one.data.min()), float(one.data.max())
                held = intervals[id(op.output)]
                if op.kind == "PADV2" or (op.kind in ("MAXIMUM", "MINIMUM")):
                    low, high = max(low, held.low), min(high, held.high)
                intervals[id(op.output)] = Range(min(held.low, low), max(held.high, high))
    whole: dict[int, Range] = {}
    for key, interval in intervals.items():
        known = whole.get(find(key))
        whole[find(key)] = interval if known is None else _both(known, interval)
    made = whole[find(id(program.output))]
    if max(-made.low, made.high - value_range) <= _OVERSHOOT * value_range:  # it is a picture
        whole[find(id(program.output))] = Range(0.0, value_range)
    members = {find(key): 0 for key in intervals}
    for key in intervals:
        members[find(key)] += 1
    return {
        key: _FIXED[fixed[key].kind]
        if key in fixed and members[find(key)] == 1
        else grid_of(whole[find(key)])
        for key in intervals
    }


def _both(one: Range, two: Range) -> Range:
    return Range(min(one.low, two.low), max(one.high, two.high))
