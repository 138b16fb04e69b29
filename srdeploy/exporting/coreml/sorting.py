"""Sorting as torch does it on a CPU: what is equal stays in its order.

Core ML does not say in which order equal values come. So no two keys that it sorts are equal: of
whole numbers below a known bound (what ``argmax`` over so many gives), the key is the number times
the length, plus the place. Of any others the numbers are their ranks, which a first sort gives:
equal values have equal ranks, in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_LARGEST = 2**31
"""Keys are whole numbers of 32 bits."""

_MOVING = ("cast", "squeeze", "expand_dims", "reshape", "transpose", "identity")

Converter = Callable[[Any, Any], None]


def sorts() -> dict[str, Converter]:
    """Functions for torch's sorts, by their names in coremltools' table."""
    return {"sort": _sort, "argsort": _argsort}


def _sort(context: Any, node: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    x, axis, order = _ordered(context, node)
    values = mb.gather_along_axis(x=x, indices=order, axis=axis)
    for name, found in zip(node.outputs, (values, order), strict=True):
        context.add(found, torch_name=name)


def _argsort(context: Any, node: Any) -> None:
    context.add(_ordered(context, node)[2], torch_name=node.name)


def _ordered(context: Any, node: Any) -> tuple[Any, int, Any]:
    """What is sorted, along which axis, and the place that each value of the result comes from."""
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs

    x, *rest = _get_inputs(context, node)
    axis, down = (value.val for value in rest[:2])
    axis = int(axis) % x.rank
    return x, axis, _order(x, axis, bool(down))


def _order(x: Any, axis: int, down: bool) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    length = x.shape[axis]
    if not isinstance(length, (int, np.integer)):
        raise NotImplementedError("a sort of as many values as the program computes")
    bound = _bound(x)
    if bound is None:
        if length * length > _LARGEST:
            raise NotImplementedError(
                f"a sort of {length} values, more than {int(_LARGEST**0.5)}, in which equal ones "
                "keep their order"
            )
        ranks = _ranks(x, axis, down)
    elif bound * length > _LARGEST:
        raise NotImplementedError(f"a sort of {length} whole numbers below {bound}")
    else:
        x = mb.cast(x=x, dtype="int32")
        ranks = mb.sub(x=bound - 1, y=x) if down else x
    shape = [length if i == axis else 1 for i in range(x.rank)]
    places = np.arange(length, dtype=np.int32).reshape(shape)
    keys = mb.add(x=mb.mul(x=ranks, y=np.int32(length)), y=places)
    return mb.argsort(x=keys, axis=axis, ascending=True)


def _ranks(x: Any, axis: int, down: bool) -> Any:
    """How many different values come before each."""
    from coremltools.converters.mil.mil import Builder as mb

    order = mb.argsort(x=x, axis=axis, ascending=not down)
    found = mb.gather_along_axis(x=x, indices=order, axis=axis)
    first, last = ([n if i == axis else 0 for i in range(x.rank)] for n in (1, -1))
    whole = [i != axis for i in range(x.rank)]
    begun = mb.slice_by_index(
        x=found, begin=first, end=first, begin_mask=whole, end_mask=[True] * x.rank
    )
    before = mb.slice_by_index(
        x=found, begin=[0] * x.rank, end=last, begin_mask=[True] * x.rank, end_mask=whole
    )
    other = mb.cast(x=mb.not_equal(x=begun, y=before), dtype="int32")
    start = mb.fill(shape=[1 if i == axis else n for i, n in enumerate(x.shape)], value=0)
    steps = mb.cumsum(x=mb.concat(values=[start, other], axis=axis), axis=axis)
    zero = mb.fill(shape=list(x.shape), value=0)
    return mb.scatter_along_axis(data=zero, indices=order, updates=steps, axis=axis, mode="update")


def _bound(x: Any) -> int | None:
    """Below which number all values are whole ones; None where that is not known."""
    while (op := x.op) is not None:
        if op.op_type in ("reduce_argmax", "reduce_argmin"):
            length = op.x.shape[int(op.axis.val)]
            return int(length) if isinstance(length, (int, np.integer)) else None
        if op.op_type not in _MOVING:
            return None
        x = op.x
    return None
