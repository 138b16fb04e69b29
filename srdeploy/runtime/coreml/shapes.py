"""Operations of CoreML programs that move values, choose among them, or compute sizes, in torch.

Semantics as in :mod:`srdeploy.runtime.coreml.ops`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from srdeploy.errors import UserError
from srdeploy.runtime.coreml.arguments import Arguments, Result


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


def _cast(a: Arguments) -> Tensor:
    x, kind = a.tensor("x"), a.text("dtype")
    if kind == "bool":
        return x.bool()
    return x.long() if "int" in kind else x.float()


def _expand_dims(x: Tensor, axes: list[int]) -> Tensor:
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _select(a: Arguments) -> Tensor:
    return torch.where(a.tensor("cond").bool(), a.tensor("a"), a.tensor("b"))


def _range(a: Arguments) -> Tensor:
    start, end, step = (a.tensor(name) for name in ("start", "end", "step"))
    return torch.arange(start.item(), end.item(), step.item(), dtype=end.dtype)


def _fill(a: Arguments) -> Tensor:
    return torch.full(a.ints("shape"), a.tensor("value").item(), dtype=a.tensor("value").dtype)


def _slice_by_size(a: Arguments) -> Tensor:
    x = a.tensor("x")
    for axis, (begin, size) in enumerate(zip(a.ints("begin"), a.ints("size"), strict=True)):
        x = x.narrow(axis, begin, x.shape[axis] - begin if size < 0 else size)
    return x


def _gather_along_axis(a: Arguments) -> Tensor:
    return a.tensor("x").gather(int(a.number("axis")), a.tensor("indices").long())


def _gather_nd(a: Arguments) -> Tensor:
    if a.number("batch_dims"):
        raise UserError("A gather_nd with batch dimensions is not known here.")
    found: Tensor = a.tensor("x")[tuple(a.tensor("indices").long().movedim(-1, 0))]
    return found


def _scatter(a: Arguments) -> Tensor:
    """Rows of ``updates`` into the rows of ``data`` along an axis that ``indices`` name."""
    data, indices, updates = (
        a.tensor("data").clone(),
        a.tensor("indices").long(),
        a.tensor("updates"),
    )
    axis = int(a.number("axis")) % data.dim()
    rows = updates.flatten(axis, axis + indices.dim() - 1) if indices.dim() else updates[None]
    _put(data.movedim(axis, 0), (indices.reshape(-1),), rows.movedim(axis, 0), a)
    return data


def _scatter_along_axis(a: Arguments) -> Tensor:
    data, axis, indices = a.tensor("data"), int(a.number("axis")), a.tensor("indices").long()
    mode, updates = a.text("mode", "add"), a.tensor("updates").to(data.dtype)
    if mode not in ("update", "add"):
        raise UserError(f"A scatter with mode {mode} is not known here.")
    scatter = data.scatter if mode == "update" else data.scatter_add
    return scatter(axis, indices, updates)


def _scatter_nd(a: Arguments) -> Tensor:
    data, indices = a.tensor("data").clone(), a.tensor("indices").long()
    _put(data, tuple(indices.movedim(-1, 0)), a.tensor("updates"), a)
    return data


def _put(data: Tensor, places: tuple[Tensor, ...], updates: Tensor, a: Arguments) -> None:
    mode = a.text("mode", "add")
    if mode not in ("update", "add"):
        raise UserError(f"A scatter with mode {mode} is not known here.")
    data.index_put_(places, updates.to(data.dtype), accumulate=mode == "add")


def _space_to_depth(a: Arguments) -> Tensor:
    """The inverse of :func:`_depth_to_space`."""
    x, block = a.tensor("x"), int(a.number("block_size"))
    n, c, h, w = x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block**2, h // block, w // block)


def _topk(a: Arguments) -> tuple[Tensor, ...]:
    if not a.number("sort", 1) or not a.number("return_indices", 1):
        raise UserError("A topk without order or without indices is not known here.")
    k, axis, least = int(a.number("k", 1)), int(a.number("axis", -1)), bool(a.number("ascending"))
    return tuple(a.tensor("x").topk(k, axis, largest=not least))


def _argsort(a: Arguments) -> Tensor:
    axis, least = int(a.number("axis", -1)), bool(a.number("ascending"))
    return a.tensor("x").argsort(axis, descending=not least)


def _band_part(a: Arguments) -> Tensor:
    x, lower, upper = a.tensor("x"), int(a.number("lower", -1)), int(a.number("upper", -1))
    x = x if lower < 0 else x.triu(-lower)
    return x if upper < 0 else x.tril(upper)


SHAPES: dict[str, Callable[[Arguments], Result]] = {
    "concat": _concat,
    "stack": lambda a: torch.stack(a.tensors("values"), int(a.number("axis"))),
    "split": _split,
    "slice_by_index": _slice,
    "slice_by_size": _slice_by_size,
    "reshape": _reshape,
    "transpose": lambda a: a.tensor("x").permute(a.ints("perm")),
    "expand_dims": lambda a: _expand_dims(a.tensor("x"), a.ints("axes")),
    "squeeze": lambda a: a.tensor("x").squeeze(tuple(a.ints("axes"))),
    "tile": lambda a: a.tensor("x").repeat(a.ints("reps")),
    "reverse": lambda a: a.tensor("x").flip(a.ints("axes", range(a.tensor("x").dim()))),
    "crop": _crop,
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "scatter": _scatter,
    "scatter_nd": _scatter_nd,
    "scatter_along_axis": _scatter_along_axis,
    "select": _select,
    "topk": _topk,
    "argsort": _argsort,
    "band_part": _band_part,
    "cumsum": lambda a: a.tensor("x").cumsum(int(a.number("axis"))),
    "pixel_shuffle": lambda a: F.pixel_shuffle(a.tensor("x"), int(a.number("upscale_factor"))),
    "pixel_unshuffle": lambda a: F.pixel_unshuffle(
        a.tensor("x"), int(a.number("downscale_factor"))
    ),
    "depth_to_space": _depth_to_space,
    "space_to_depth": _space_to_depth,
    "shape": lambda a: torch.tensor(a.tensor("x").shape),
    "range_1d": _range,
    "fill": _fill,
    "cast": _cast,
    "identity": lambda a: a.tensor("x"),
}
