"""Tensors of more than five dimensions, which Core ML does not have, in steps of at most five.

Windows of attention are such: ``b h/w w w/w w d`` has six. The memory of a tensor does not know
how many dimensions it has, so a tensor of six is kept as one of fewer with the same values in the
same order, and each operation on it is written for those:

* A reshape is none. A transpose becomes one of merged axes, or a few that swap two neighbours.
* An operation that works along some axes (softmax, sums, cuts, normalisation, matrix products)
  leaves the others alone, and what is adjacent and left alone is one axis. So it is with axes
  along which two tensors are added, or one of them is repeated.

All that is moved about, and the arithmetic is the same. Sizes must be known while converting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from srdeploy.exporting.axes import merged

MOST = 5
"""Dimensions of a tensor of Core ML."""

_SHAPED = ("reshape", "expand_dims", "squeeze")
"""Operations that move nothing."""

_POINTWISE = frozenset(
    (
        *("add", "sub", "mul", "real_div", "floor_div", "mod", "pow", "maximum", "minimum"),
        *("equal", "not_equal", "greater", "greater_equal", "less", "less_equal", "select"),
        *("logical_and", "logical_or", "logical_xor", "logical_not", "cast", "identity"),
        *("abs", "ceil", "clip", "cos", "erf", "exp", "exp2", "floor", "inverse", "log", "round"),
        *("rsqrt", "sign", "sin", "sqrt", "square", "tanh", "elu", "gelu", "leaky_relu", "relu"),
        *("relu6", "sigmoid", "sigmoid_hard", "silu", "softplus", "thresholded_relu"),
    )
)
"""Operations that compute each value of the result from the values at its place."""

_OPERANDS = {
    "select": ("cond", "a", "b"),
    "gather_along_axis": ("x", "indices"),
    "linear": ("x",),
    "gather": ("x",),
}
"""Arguments that have a value for each place, where they are not ``x`` and ``y``."""

_AXES = ("axis", "axes")

_ALONG = frozenset(
    (
        *("softmax", "cumsum", "layer_norm", "concat", "split", "gather", "gather_along_axis"),
        *("reduce_mean", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_argmax"),
        *("reduce_argmin", "reduce_l1_norm", "reduce_l2_norm", "reduce_sum_square", "reverse"),
    )
)
"""Operations along the axes that their arguments ``axis`` or ``axes`` name."""

_CUT = {
    "begin": (0, 0), "end": (0, 0), "stride": (1, 1),
    "begin_mask": (False, True), "end_mask": (False, True), "squeeze_mask": (False, False),
}  # fmt: skip
"""Arguments of a cut: what they are by default, and where nothing is cut."""

Note = Callable[[Any], None]


def lower_ranks(program: Any, note: Note) -> None:
    """Rewrite, in place, what computes with tensors of more than :data:`MOST` dimensions.

    Args:
        program: Of coremltools, in its intermediate language.
        note: Called with each operation before it is rewritten, for messages.

    Raises:
        NotImplementedError: an operation that is not known here, or sizes that are free.
    """
    for block in program.functions.values():
        with block:
            _Block(block, note).lower()


def _is_large(values: Iterable[Any]) -> bool:
    return any(value.rank > MOST for value in values)


def _read(op: Any) -> list[Any]:
    """The tensors that an operation reads."""
    found: list[Any] = []
    for given in op.inputs.values():
        found += given if isinstance(given, (list, tuple)) else [given]
    return [value for value in found if value is not None and hasattr(value, "rank")]


class _Block:
    """One function of a program while it is rewritten."""

    def __init__(self, block: Any, note: Note) -> None:
        self._block, self._note = block, note
        self._small: dict[Any, Any] = {}  # a large tensor, and the small one with its values

    def lower(self) -> None:
        """Rewrite all operations that read or make large tensors."""
        gone = []
        for op in list(self._block.operations):
            if op.op_type == "const" or not _is_large([*_read(op), *op.outputs]):
                continue
            self._note(op)
            if any(not isinstance(n, (int, np.integer)) for v in op.outputs for n in v.shape):
                raise NotImplementedError(
                    f"Core ML has tensors of {MOST} dimensions at most, and the sizes of this one "
                    "are not known"
                )
            for old, new in zip(op.outputs, _Rewritten(op, self._small).results(), strict=True):
                if old.rank > MOST:
                    self._small[old] = new
                else:
                    self._block.replace_uses_of_var_after_op(op, old, new)
            gone.append(op)
        for op in reversed(gone):
            self._block.remove_ops([op])


class _Rewritten:
    """One operation in smaller tensors."""

    def __init__(self, op: Any, small: dict[Any, Any]) -> None:
        self.op, self._small = op, small

    def results(self) -> list[Any]:
        """What it makes: those of at most :data:`MOST` dimensions in their own shape."""
        kind = self.op.op_type
        if kind in _SHAPED:
            made = [self.view(self.op.x, None)]
        elif kind == "transpose":
            made = [self.transposed()]
        elif kind == "stack":
            made = [self.stacked()]
        elif kind in _POINTWISE:
            made = self.merged(())
        elif kind in _ALONG and not getattr(getattr(self.op, "batch_dims", None), "val", 0):
            made = self.merged(self.named_axes())
        elif kind == "matmul":
            made = self.merged((-2, -1))
        elif kind == "linear":
            made = self.merged((-1,))
        elif kind == "slice_by_index":
            made = self.sliced()
        elif kind == "tile":
            reps = self.op.reps.val
            own = [axis for axis, n in enumerate(reps) if n != 1]
            made = self.merged(own, {"reps": (reps, 1)})
        else:
            raise NotImplementedError(f"Core ML has tensors of {MOST} dimensions at most")
        return [
            new if old.rank > MOST else self.reshaped(new, old.shape, name=old.name)
            for old, new in zip(self.op.outputs, made, strict=True)
        ]

    def build(self, kind: str, **given: Any) -> Any:
        """An operation before the one that is rewritten."""
        from coremltools.converters.mil.mil import Builder as mb

        return getattr(mb, kind)(**given, before_op=self.op)

    def reshaped(self, value: Any, shape: Sequence[int], **named: str) -> Any:
        """A small tensor in another shape."""
        if tuple(value.shape) == tuple(shape):
            return value
        return self.build("reshape", x=value, shape=np.array(shape, np.int32), **named)

    def view(self, value: Any, shape: Sequence[int] | None) -> Any:
        """A tensor in a small shape; None: in any."""
        known = self._small.get(value, value)
        if known.rank > MOST:  # a constant
            assert value.val is not None
            return value.val.reshape(shape or -1)
        return known if shape is None else self.reshaped(known, shape)

    def transposed(self) -> Any:
        """A transpose in which the axes that stay neighbours are one.

        Of more than :data:`MOST` one is moved at a time, before those that come after it.
        """
        shape = list(self.op.x.shape)
        order = [int(axis) % len(shape) for axis in self.op.perm.val if shape[axis] != 1]
        together: list[list[int]] = []
        for axis in order:
            before = together[-1][-1] if together else None
            between = range(before + 1, axis) if before is not None and before < axis else None
            if between is not None and all(shape[i] == 1 for i in between):
                together[-1].append(axis)
            else:
                together.append([axis])
        firsts = sorted(axes[0] for axes in together)
        sizes = {axes[0]: math.prod(shape[i] for i in axes) for axes in together}
        order = [axes[0] for axes in together]
        if len(order) <= MOST:
            value = self.view(self.op.x, [sizes[axis] for axis in firsts] or [1])
            perm = [firsts.index(axis) for axis in order] or [0]
            return self.build("transpose", x=value, perm=np.array(perm, np.int32))
        value, done = self.view(self.op.x, None), 1
        for axis in order:
            at = firsts.index(axis)
            before, after = (
                math.prod(sizes[i] for i in part) for part in (firsts[:at], firsts[at + 1 :])
            )
            value = self.reshaped(value, [done, before, sizes[axis], after])
            value = self.build("transpose", x=value, perm=np.array([0, 2, 1, 3], np.int32))
            done *= sizes[axis]
            del firsts[at]
        return value

    def stacked(self) -> Any:
        """A concatenation along a new axis."""
        shape = self.op.outputs[0].shape
        axis = int(self.op.axis.val) % len(shape)
        one = [math.prod(shape[:axis]), 1, math.prod(shape[axis + 1 :])]
        return self.build("concat", values=[self.view(v, one) for v in self.op.values], axis=1)

    def named_axes(self) -> list[int]:
        """The axes that the operation's own arguments name; all, where none are."""
        for name in _AXES:
            if (given := getattr(self.op, name, None)) is not None:
                return [int(axis) for axis in np.ravel(given.val)]
        return list(range(self.op.x.rank))

    def merged(
        self, own: Iterable[int], by_axis: Mapping[str, tuple[Sequence[Any], Any]] | None = None
    ) -> list[Any]:
        """The operation on as few axes as it can do with.

        Args:
            own: Axes along which it works.
            by_axis: Arguments with a value for each axis, and what that is where it does not work.
        """
        operands = self.operands()
        rank = max(value.rank for value in operands)
        shapes = [[1] * (rank - value.rank) + list(value.shape) for value in operands]
        own = sorted(axis % rank for axis in own)
        runs = merged(shapes, own)
        if len(runs) > MOST:
            raise NotImplementedError(
                f"it works on {len(runs)} dimensions at once, of which Core ML has {MOST}"
            )
        small = [
            self.view(value, [math.prod(shape[i] for i in run) for run in runs])
            for value, shape in zip(operands, shapes, strict=True)
        ]
        given = self.arguments(operands, small)
        for name in _AXES if self.op.op_type in _ALONG else ():
            if (axes := getattr(self.op, name, None)) is not None:
                found = [runs.index([int(axis) % rank]) for axis in np.ravel(axes.val)]
                given[name] = found[0] if name == "axis" else np.array(found, np.int32)
        for name, (each, otherwise) in (by_axis or {}).items():
            found = [each[run[0]] if run[0] in own else otherwise for run in runs]
            given[name] = np.array(found, np.asarray(each).dtype)
        made = self.build(self.op.op_type, **given)
        return list(made) if isinstance(made, (list, tuple)) else [made]

    def operands(self) -> list[Any]:
        """The tensors that have a value for each place."""
        kind, given = self.op.op_type, self.op.inputs
        if kind == "concat":
            return list(self.op.values)
        names = _OPERANDS.get(kind, ("x", "y"))
        found = [given[name] for name in names if given.get(name) is not None]
        return [value for value in found if value.rank]

    def arguments(self, operands: list[Any], small: list[Any]) -> dict[str, Any]:
        """All arguments, with small tensors for the large ones."""
        known = {id(value): one for value, one in zip(operands, small, strict=True)}
        found: dict[str, Any] = {}
        for name, given in self.op.inputs.items():
            if isinstance(given, (list, tuple)):
                found[name] = [known.get(id(one), one) for one in given]
            elif given is not None:
                found[name] = known.get(id(given), given)
        return found

    def sliced(self) -> list[Any]:
        """A cut, in which most axes are whole."""
        shape, cut = self.op.x.shape, dict[str, Any]()
        for name, (usual, _) in _CUT.items():
            given = getattr(self.op, name, None)
            cut[name] = [usual] * len(shape) if given is None else given.val
            if cut[name] is None:
                raise NotImplementedError(f"a cut at a computed place of more than {MOST} axes")

        def whole(axis: int) -> bool:
            first, last, step, from_first, to_last, single = (cut[name][axis] for name in _CUT)
            return bool(
                (from_first or first == 0) and (to_last or last == shape[axis])
                and step == 1 and not single
            )  # fmt: skip

        own = [axis for axis in range(len(shape)) if not whole(axis)]
        return self.merged(own, {name: (cut[name], _CUT[name][1]) for name in _CUT})
