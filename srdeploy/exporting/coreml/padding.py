"""Padding by amounts that a program computes, to a multiple of a window mostly, or by less than 0.

Core ML pads by constants only, and by none that is negative: those crop, and are written so. What
stands at each place of an axis that is padded by a computed amount can be said, though: with ``p``
counted from the first row of the input, it is row ``p`` where there is one, and beyond the ends the
first or last row (replicated), or the row as far inside as ``p`` is outside (reflected). So the
rows are gathered; padding by a constant puts that in place of the rows beyond the ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Converter = Callable[[Any, Any], None]

_MODES = {
    "pad": "",
    "constant_pad_nd": "constant",
    "reflection_pad2d": "reflect",
    "replication_pad2d": "replicate",
}
"""torch's operations, with their modes; '' where it is an argument."""


def paddings(table: dict[str, Any]) -> dict[str, Converter]:
    """Functions for torch's paddings, by their names in coremltools' table.

    Args:
        table: coremltools' own functions, which do what they can: constant amounts.
    """
    return {name: _converter(mode, table.get(name)) for name, mode in _MODES.items()}


def _converter(mode: str, original: Converter | None) -> Converter:
    def convert(context: Any, node: Any) -> None:
        from coremltools.converters.mil.frontend.torch.ops import _get_inputs

        given = _get_inputs(context, node)
        x, amounts = given[0], given[1]
        if not isinstance(amounts, (list, tuple)):  # one constant
            known = None if amounts.val is None else [int(amount) for amount in amounts.val]
            if known is None or min(known, default=0) >= 0:
                if original is None:
                    raise NotImplementedError("it is unknown to coremltools")
                original(context, node)
                return
            amounts = known
        rest = [getattr(value, "val", value) for value in given[2:]]
        kind = mode or (str(rest.pop(0)) if rest else "constant")
        value = float(rest[0]) if kind == "constant" and rest and rest[0] is not None else 0.0
        if kind not in ("constant", "reflect", "replicate"):
            raise NotImplementedError(f"padding by mode {kind}, by amounts that are computed")
        axes = [x.rank - 1 - i // 2 for i in range(0, len(amounts), 2)]
        pairs = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)]
        changed = [
            (axis, pair)
            for axis, pair in zip(axes, pairs, strict=True)
            if any(_number(amount) != 0 for amount in pair)
        ]
        for axis, (before, after) in changed:
            if all(number is not None and number <= 0 for number in map(_number, (before, after))):
                x = _cropped(x, axis, -(_number(before) or 0), -(_number(after) or 0))
            else:
                x = _axis(x, axis, before, after, kind, value)
        context.add(x, node.name)

    return convert


def _number(amount: Any) -> int | None:
    """An amount that is known; None for another."""
    value = getattr(amount, "val", amount)
    return None if value is None else int(value)


def _cropped(x: Any, axis: int, before: int, after: int) -> Any:
    """Without so many rows at both ends."""
    from coremltools.converters.mil.mil import Builder as mb

    here = [number == axis for number in range(x.rank)]
    return mb.slice_by_index(
        x=x,
        begin=[before if at else 0 for at in here],
        end=[-after if at else 0 for at in here],
        begin_mask=[not at for at in here],
        end_mask=[not (at and after) for at in here],
    )


def _axis(x: Any, axis: int, before: Any, after: Any, kind: str, value: float) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    length = mb.gather(x=mb.shape(x=x), indices=axis, axis=0)
    last = mb.sub(x=length, y=1)
    end = mb.add(x=length, y=_whole(after))
    start = mb.mul(x=_whole(before), y=-1)
    places = mb.range_1d(start=start, end=end, step=1)
    if kind == "reflect":
        places = mb.maximum(x=places, y=mb.mul(x=places, y=-1))
        beyond = mb.sub(x=last, y=places)
        beyond = mb.maximum(x=beyond, y=mb.mul(x=beyond, y=-1))
        return mb.gather(x=x, indices=mb.sub(x=last, y=beyond), axis=axis)
    inside = mb.minimum(x=mb.maximum(x=places, y=0), y=last)
    gathered = mb.gather(x=x, indices=inside, axis=axis)
    if kind == "replicate":
        return gathered
    kept = mb.cast(x=mb.equal(x=inside, y=places), dtype="fp32")
    for _ in range(x.rank - 1 - axis):
        kept = mb.expand_dims(x=kept, axes=[-1])
    padded = mb.mul(x=gathered, y=kept)
    if value:
        padded = mb.add(x=padded, y=mb.mul(x=mb.sub(x=1.0, y=kept), y=value))
    return padded


def _whole(amount: Any) -> Any:
    """An amount as a number of the program."""
    from coremltools.converters.mil.mil import Builder as mb

    known = _number(amount)
    if known is not None:
        return known
    if amount.rank:
        amount = mb.squeeze(x=amount)
    return mb.cast(x=amount, dtype="int32")
