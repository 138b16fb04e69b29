"""ONNX -> a LiteRT program of operations that the GPU and NNAPI delegates take.

Every ONNX operation has a function in one of three tables: of images
(:mod:`srdeploy.exporting.litert.images`), of single values
(:mod:`srdeploy.exporting.litert.pointwise`) and of arrays
(:mod:`srdeploy.exporting.litert.arrays`). All that they write is exact, or exact but for the
rounding of float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from srdeploy.errors import UserError
from srdeploy.exporting.axes import merged
from srdeploy.exporting.litert.graph import RANK, NotInLitert, Op, Program, Tensor
from srdeploy.exporting.litert.layout import Order, Shape, Value, moves, regrouped

IMAGE: Order = (0, 2, 3, 1)
"""How images lie in memory."""

Lowered = Callable[["Lowering", onnx.NodeProto], None]
"""Writes one ONNX operation."""


def lower(
    model: onnx.ModelProto, table: dict[str, Lowered], name_of: Callable[..., str]
) -> Program:
    """The program of a graph.

    Args:
        model: float32, of one input ``[1, C, H, W]`` and one output, all sizes fixed.
        table: What writes each operation.
        name_of: What sentences call a node.

    Raises:
        NotInLitert: an operation that is not in the table, or one of a kind that it cannot write.
        UserError: a graph of another kind.
    """
    work = Lowering(model, name_of)
    for node in model.graph.node:
        if node.op_type not in table and not work.is_stored(node):
            raise NotInLitert(node.op_type, name_of(node))
        try:
            work.write(node, table.get(node.op_type))
        except (
            LookupError,
            ValueError,
            TypeError,
            ArithmeticError,
        ) as error:  # a form of it not met yet
            detail = " ".join(str(error).split())[:120]
            raise NotInLitert(
                node.op_type, name_of(node), f"in a form that is not known here: {detail}"
            ) from error
    return work.program()


class Lowering:
    """A program that is being written.

    Attributes:
        values: Computed tensors, by ONNX's names.
        stored: Constants, likewise.
        makers: The node that makes each tensor.
        count: How many nodes read each tensor; the result counts as read.
    """

    def __init__(self, model: onnx.ModelProto, name_of: Callable[..., str]) -> None:
        graph = model.graph
        self._name_of = name_of
        self.stored = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.count: dict[str, int] = {graph.output[0].name: 1}
        for node in graph.node:
            for name in node.input:
                self.count[name] = self.count.get(name, 0) + 1
        self.shapes = _shapes(model)
        given = next(one for one in graph.input if one.name not in self.stored)
        self._result = graph.output[0].name
        self.opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
        shape = self.shapes.get(given.name, ())
        if len(shape) != 4 or shape[0] != 1 or 0 in shape:
            raise UserError(
                f"The graph's input is {list(shape)}, not one image [1, C, H, W] of a fixed size; "
                "give --input 480x270."
            )
        self.ops: list[Op] = []
        self._names: dict[str, int] = {}
        self._views: dict[tuple[int, Shape], Tensor] = {}
        self._moved: dict[tuple[int, Order], Tensor] = {}
        self._base = self._layer = given.name
        self.input = Tensor(self._fresh(), tuple(shape[axis] for axis in IMAGE))
        self.values = {given.name: Value(self.input, shape, IMAGE)}

    def program(self) -> Program:
        """What was written; its result is an image."""
        self._base = self._layer = "result"
        return Program(self.input, self.image(self._result), self.ops).without_unread()

    def is_stored(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes with constants alone."""
        return all(not name or name in self.stored for name in node.input)

    def write(self, node: onnx.NodeProto, lowered: Lowered | None) -> None:
        """Write one node."""
        self._base, self._layer = node.output[0], self._name_of(node)
        if self.is_stored(node):
            self._compute(node)
            return
        assert lowered is not None
        lowered(self, node)

    def _compute(self, node: onnx.NodeProto) -> None:
        from onnx.reference import ReferenceEvaluator

        told = {name: self.stored[name] for name in node.input if name}
        made = ReferenceEvaluator(node).run(None, told)
        self.stored |= dict(zip(node.output, map(np.asarray, made), strict=True))

    def refuse(self, node: onnx.NodeProto, reason: str) -> NotInLitert:
        """The error for a node that cannot be written."""
        return NotInLitert(node.op_type, self._layer, reason)

    # What nodes tell.

    def told(self, node: onnx.NodeProto, name: str, default: Any = None, at: int = 0) -> Any:
        """A setting: an attribute, or in later sets of operators the input at a place."""
        for one in node.attribute:
            if one.name == name:
                value = helper.get_attribute_value(one)
                return value.decode() if isinstance(value, bytes) else value
        if at and len(node.input) > at and node.input[at]:
            if node.input[at] not in self.stored:
                raise self.refuse(node, f"its {name} are computed")
            return self.stored[node.input[at]].tolist()
        return default

    def shape(self, name: str) -> Shape:
        """Of a computed or stored tensor, as ONNX has it."""
        if name in self.stored:
            return self.stored[name].shape
        return self.values[name].shape if name in self.values else self.shapes[name]

    def alone(self, name: str) -> bool:
        """Whether one node reads a tensor."""
        return self.count.get(name, 0) == 1

    # Tensors.

    def op(
        self, kind: str, inputs: Sequence[Tensor], shape: Sequence[int], **options: Any
    ) -> Tensor:
        """Write an operation; returns what it makes."""
        output = Tensor(self._fresh(), tuple(int(n) for n in shape))
        self.ops.append(Op(kind, list(inputs), output, options, self._layer))
        return output

    def constant(self, values: Any, dtype: str = "float32") -> Tensor:
        """Store a tensor."""
        data = np.ascontiguousarray(np.asarray(values).astype(dtype))
        return Tensor(self._fresh(), data.shape, dtype, data)

    def numbers(self, *values: int) -> Tensor:
        """Store whole numbers."""
        return self.constant(np.array(values, np.int32), "int32")

    def viewed(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """The same values in another shape."""
        wanted = tuple(int(n) for n in shape)
        if tensor.shape == wanted:
            return tensor
        if tensor.data is not None:
            return Tensor(self._fresh(), wanted, tensor.dtype, tensor.data.reshape(wanted))
        key = id(tensor), wanted
        if key not in self._views:
            made = self.op("RESHAPE", [tensor, self.numbers(*wanted)], wanted, newShape=[*wanted])
            self._views[key] = made
            self._views[id(made), tensor.shape] = tensor
        return self._views[key]

    def ordered(self, value: Value, order: Sequence[int]) -> Tensor:
        """The values as they lie in an order, in any shape."""
        perm = tuple(value.order.index(axis) for axis in order)
        key = id(value.tensor), (*value.in_memory, -1, *perm)
        if key not in self._moved:
            tensor = value.tensor
            for shape, moved in moves(value.in_memory, perm):
                tensor = self.op(
                    "TRANSPOSE", [self.viewed(tensor, shape), self.numbers(*moved)],
                    [shape[axis] for axis in moved],
                )  # fmt: skip
            self._moved[key] = tensor
        return self._moved[key]

    def image(self, name: str) -> Tensor:
        """A tensor as an image in memory, ``[N, H, W, C]``."""
        value = self.values[name]
        n, c, h, w = value.shape
        return self.viewed(self.ordered(value, IMAGE), (n, h, w, c))

    def keep(self, name: str, tensor: Tensor, shape: Sequence[int], order: Sequence[int]) -> None:
        """Note what a tensor of ONNX's is."""
        self.values[name] = Value(tensor, tuple(int(n) for n in shape), tuple(order))

    def keep_image(self, name: str, tensor: Tensor) -> None:
        """Note an image."""
        n, h, w, c = tensor.shape
        self.keep(name, tensor, (n, c, h, w), IMAGE)

    def reshaped(self, value: Value, shape: Shape) -> Value:
        """A value in another shape, moved only if it must be."""
        found = regrouped(value, shape)
        if found is None:
            raise NotInLitert(
                "reshape", self._layer, f"from {list(value.shape)} to a size that is not known"
            )
        order, after = found
        return Value(self.ordered(value, order), shape, after)

    def aligned(self, names: Sequence[str]) -> tuple[list[Tensor], Shape, Order, Shape]:
        """Operands of an operation on single values, made to fit each other.

        Returns:
            Them, the shape of the result and the order of its axes, and its shape in memory.
        """
        shape = np.broadcast_shapes(*(self.shape(name) for name in names))
        rank = len(shape)
        computed = {n: self.values[n].widened(rank) for n in names if n in self.values}
        leader = max(computed.values(), key=lambda value: math.prod(value.shape))
        order = leader.order
        lying = [self._lying(name, computed, order, rank) for name in names]
        runs = (
            [[axis] for axis in range(rank)] if rank <= RANK else merged([one[1] for one in lying])
        )
        if len(runs) > RANK:
            raise NotInLitert("broadcast", self._layer, f"it works on {len(runs)} dimensions")
        tensors = []
        for tensor, sizes in lying:
            small = [math.prod(sizes[axis] for axis in run) for run in runs]
            if tensor.data is not None and all(n == 1 for n in small[:-1]):
                small = small[-1:]
            tensors.append(self.viewed(tensor, small or [1]))
        whole = [math.prod(shape[order[axis]] for axis in run) for run in runs]
        return tensors, tuple(shape), order, tuple(whole or [1])

    def _lying(
        self, name: str, computed: dict[str, Value], order: Order, rank: int
    ) -> tuple[Tensor, Shape]:
        if name in computed:
            value = computed[name]
            return self.ordered(value, order), tuple(value.shape[axis] for axis in order)
        data = self.stored[name]
        wide: NDArray = data.reshape((1,) * (rank - data.ndim) + data.shape).transpose(order)
        return self.constant(wide), wide.shape

    def along(self, value: Value, axes: Sequence[int]) -> tuple[Tensor, list[int], list[list[int]]]:
        """A value in at most four axes, some of which an operation works along.

        Returns:
            It, which of its axes those are, and the axes in memory that each of its axes is of.
        """
        sizes = value.in_memory
        own = [value.order.index(axis) for axis in axes]
        rank = len(sizes)
        runs = [[axis] for axis in range(rank)] if rank == RANK else merged([sizes], own)
        if len(runs) > RANK:
            raise NotInLitert("slice", self._layer, f"it works on {len(runs)} dimensions")
        runs = [[] for _ in range(RANK - len(runs))] + runs
        shape = [math.prod(sizes[axis] for axis in run) for run in runs]
        return self.viewed(value.tensor, shape), [runs.index([axis]) for axis in own], runs

    def _fresh(self) -> str:
        count = self._names[self._base] = self._names.get(self._base, -1) + 1
        return self._base if not count else f"{self._base}:{count}"


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
