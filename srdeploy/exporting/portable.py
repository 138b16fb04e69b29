"""Operations of torch that no exporter writes, in operations that all of them do.

Adaptive pooling divides its input into windows that overlap by a row where the sizes do not divide.
No format has it. At a size that is known while the network is followed, the windows are: window
``i`` of ``n`` over ``h`` rows begins at ``floor(i * h / n)`` and ends before ``ceil((i + 1) * h /
n)``. They are gathered, the short ones with their last row repeated (of a maximum) or left out by
a weight of zero (of a mean); rows first, then columns.

A sort that keeps the order of equal values (``stable``) is written as one that does not, as
exporters refuse to promise it. What they write keeps it: ONNX's ``TopK`` puts the lower index
first, Core ML's is made to (:mod:`srdeploy.exporting.coreml.sorting`). Of a sort that promises no
order torch may give any, and another one on another machine; files give the stable one, and are
compared with the network under :class:`StableSorts`.

What is written at places that a tensor holds, of one row of another (``x[0, places] = y``), is
written into a view, which coremltools forgets. It is written into the whole tensor.

An operation that fails, where the network's code catches that and does something else, leaves
torch's tracer switched off, with half an operation in its graph: the process would end with a
segmentation fault. The tracer is put back to where it was before.

A function with a derivative of its own (``torch.autograd.Function``) is a black box in a trace, so
its forward is called as any code, unless it says itself (``symbolic``) what it is in ONNX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from srdeploy.models.watch import CallWatch, argument, name_of

SORTS = ("sort", "argsort")


class StableSorts(CallWatch):
    """Every sort leaves equal values in their order."""

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call."""
        if name_of(func) in SORTS:
            named = dict(zip(("dim", "descending"), args[1:], strict=False))
            return func(*args[:1], **named, **(kwargs | {"stable": True}))
        return func(*args, **kwargs)


class Portable(CallWatch):
    """Replaces such operations while an exporter follows a network."""

    def __enter__(self) -> Portable:
        torch.autograd.Function.apply = classmethod(_forward)  # type: ignore[assignment]
        super().__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        torch.autograd.Function.apply = _apply  # type: ignore[method-assign]
        super().__exit__(*raised)

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call, or what stands for it."""
        name = name_of(func)
        if name in SORTS:
            kwargs = {key: value for key, value in kwargs.items() if key != "stable"}
        if name == "__setitem__" and (places := _places(args[1])) is not None:
            value = torch.as_tensor(args[2], dtype=args[0].dtype)
            return _traced(Tensor.index_put_, (args[0], places, value), {})
        pool = _POOLS.get(name)
        if pool is None:
            return _traced(func, args, kwargs)
        x, size = args[0], argument(args, kwargs, 1, "output_size")
        wanted = _sides(x, size)
        if wanted is None or all(
            side % n == 0 for side, n in zip(x.shape[-2:], wanted, strict=True)
        ):
            return _traced(func, args, kwargs)
        return pool(pool(x, -2, wanted[0]), -1, wanted[1])


def _places(index: Any) -> tuple[Tensor, ...] | None:
    """An index of numbers and of tensors of places, as tensors; None for any other."""
    parts = index if isinstance(index, tuple) else ()
    kinds = {type(part) for part in parts}
    whole = all(part.dtype == torch.int64 for part in parts if isinstance(part, Tensor))
    if kinds != {int, Tensor} or not whole:
        return None
    places = (torch.tensor(part) if isinstance(part, int) else part for part in parts)
    return torch.broadcast_tensors(*places)


def _traced(func: Any, args: Any, kwargs: Any) -> Any:
    """Make a call; where it fails, the tracer knows nothing of it."""
    state = torch._C._get_tracing_state()
    try:
        return func(*args, **kwargs)
    except Exception:
        if state is not None:
            torch._C._set_tracing_state(state)  # type: ignore[attr-defined]
            if (half := _last_node(state.graph())) is not None and not half.outputsSize():
                half.destroy()
        raise


def _last_node(block: Any) -> Any:
    """What a tracer wrote last, in whichever layer's block; None where that is empty."""
    node = next(reversed([*block.nodes()]), None)
    while node is not None and (blocks := [*node.blocks()]):
        node = next(reversed([*blocks[-1].nodes()]), None)
    return node


class _Context:
    """What a forward notes for its derivative, which is not asked for."""

    def __init__(self, count: int) -> None:
        self.needs_input_grad = (False,) * count

    def _ignored(self, *values: Any) -> None:
        return None

    save_for_backward = mark_dirty = mark_non_differentiable = set_materialize_grads = _ignored


_apply = torch.autograd.Function.__dict__["apply"]


def _forward(function: Any, *args: Any) -> Any:
    if hasattr(function, "symbolic"):
        return _apply.__get__(None, function)(*args)
    if function.setup_context is not torch.autograd.Function.setup_context:
        return function.forward(*args)
    return function.forward(_Context(len(args)), *args)


def _sides(x: Tensor, size: Any) -> list[int] | None:
    """Height and width that come out; None where an exporter keeps sizes free."""
    given = [size, size] if size is None or not isinstance(size, (list, tuple)) else [*size]
    sides = [side if n is None else n for n, side in zip(given, x.shape[-2:], strict=True)]
    if any(isinstance(n, torch.SymInt) for n in (*sides, *x.shape[-2:])):
        return None
    return [int(n) for n in sides]


def _windows(x: Tensor, axis: int, n: int) -> tuple[Tensor, Tensor]:
    """The windows of an axis side by side, before that axis's end; and which rows count."""
    length = int(x.shape[axis])
    starts = [i * length // n for i in range(n)]
    stops = [-(-(i + 1) * length // n) for i in range(n)]
    most = max(stop - start for start, stop in zip(starts, stops, strict=True))
    rows = [
        [min(start + k, stop - 1) for k in range(most)]
        for start, stop in zip(starts, stops, strict=True)
    ]
    counts = [
        [float(start + k < stop) / (stop - start) for k in range(most)]
        for start, stop in zip(starts, stops, strict=True)
    ]
    axis %= x.dim()
    found = x.index_select(axis, torch.tensor(rows).reshape(-1))
    shape = [*x.shape[:axis], n, most, *x.shape[axis + 1 :]]
    weights = torch.tensor(counts, dtype=x.dtype)
    return found.reshape(shape), weights.reshape(n, most, *[1] * (x.dim() - axis - 1))


def _mean(x: Tensor, axis: int, n: int) -> Tensor:
    windows, weights = _windows(x, axis, n)
    return (windows * weights).sum(axis % x.dim() + 1)


def _maximum(x: Tensor, axis: int, n: int) -> Tensor:
    windows, _ = _windows(x, axis, n)
    return windows.amax(axis % x.dim() + 1)


_POOLS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "adaptive_avg_pool2d": _mean,
    "adaptive_max_pool2d": _maximum,
}
