"""Calls in which a network's code says numbers of channels: reshapes and cuts.

``y.reshape(b, n, 3, heads, c // heads)``, ``x[:, :, : c // 2]``, ``torch.split(x, (c - k, k), 1)``
and ``x.narrow(1, 0, k)`` are recognised by what they ask for. A call has one :class:`Site` for
each of its places with numbers; an index has one for every slice with an end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from srdeploy.models.code_place import calling_place
from srdeploy.models.watch import argument

RESHAPE = "reshape"
"""What the kind of a reshape begins with; kinds of cuts say their dimension: ``slice 1 of 4``."""

_FUNCTIONS = {
    Tensor.view: RESHAPE, Tensor.reshape: RESHAPE, torch.reshape: RESHAPE,
    Tensor.__getitem__: "slice", Tensor.narrow: "narrow", torch.narrow: "narrow",
    Tensor.split: "split", torch.split: "split",
    Tensor.split_with_sizes: "split", torch.split_with_sizes: "split",
}  # fmt: skip


class Site(NamedTuple):
    """Where a call says numbers.

    Attributes:
        kind: Of the call: ``reshape``, ``slice 3 of 4``, ``narrow 1 of 4``, ``split 1 of 4``, or
            ``split each 1 of 4`` into parts of one size; and its place
            (:mod:`srdeploy.models.code_place`): ``reshape at forward 12``.
        numbers: What it asks for, None for an end of a slice that is not said. Sizes of a reshape
            may be -1.
        dim: The dimension of a cut as the operation below the call counts it, which an index
            reaches after the items before the slice.
        item: Where in an index the slice stands.
    """

    kind: str
    numbers: tuple[Any, ...]
    dim: int = 0
    item: int = 0


def sites(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Site]:
    """Where a call of torch says numbers; empty for all other calls."""
    try:
        kind = _FUNCTIONS.get(func)
    except TypeError:  # no hash
        return []
    if kind is None or not args or not isinstance(args[0], Tensor):
        return []
    if kind == RESHAPE:
        found = _reshape(args, kwargs)
    elif kind == "slice":
        found = _slices(args[0], args[1])
    else:
        found = _parts(kind, tuple(args), dict(kwargs))
    place = calling_place() if found else ""
    return [site._replace(kind=f"{site.kind} at {place}") if place else site for site in found]


def is_reshape(kind: str) -> bool:
    """Whether it is the kind of a reshape, anywhere."""
    return kind.startswith(RESHAPE)


def call(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], said: Sequence[Site]) -> Any:
    """The call's result with the numbers of these sites, which are those of the call in order."""
    if not said:
        return func(*args, **kwargs)
    tensor, first = args[0], said[0]
    if is_reshape(first.kind):
        return func(tensor, list(first.numbers))
    if first.kind.startswith("slice"):
        index = list(args[1]) if isinstance(args[1], tuple) else [args[1]]
        for site in said:
            index[site.item] = slice(*site.numbers)
        return func(tensor, tuple(index))
    if first.kind.startswith("narrow"):
        return torch.narrow(tensor, first.dim, *first.numbers)
    each = first.kind.startswith("split each")
    return torch.split(tensor, first.numbers[0] if each else list(first.numbers), first.dim)


def _reshape(args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Site]:
    if kwargs or len(args) < 2:
        return []
    sizes = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
    if any(isinstance(size, torch.dtype) for size in sizes):
        return []
    return [Site(RESHAPE, tuple(sizes))]


def _slices(tensor: Tensor, index: Any) -> list[Site]:
    items = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(i, (int, slice)) or i is None or i is Ellipsis for i in items):
        return []  # elements by number
    if any(isinstance(item, bool) for item in items):
        return []
    named = sum(isinstance(item, (int, slice)) for item in items)
    found: list[Site] = []
    own = dim = 0
    for place, item in enumerate(items):
        if item is None:
            dim += 1
        elif item is Ellipsis:
            own, dim = own + tensor.dim() - named, dim + tensor.dim() - named
        elif isinstance(item, slice):
            if item.step not in (None, 1):
                return []
            if item.start is not None or item.stop is not None:
                kind = f"slice {own} of {tensor.dim()}"
                found.append(Site(kind, (item.start, item.stop), dim, place))
            own, dim = own + 1, dim + 1
        else:
            own += 1
    return found


def _parts(kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Site]:
    tensor, each = args[0], ""
    if kind == "narrow":
        dim = argument(args, kwargs, 1, "dim")
        numbers = (argument(args, kwargs, 2, "start"), argument(args, kwargs, 3, "length"))
    else:
        named = next((kwargs[name] for name in kwargs if name.startswith("split_size")), None)
        sizes = args[1] if len(args) > 1 else named
        dim = argument(args, kwargs, 2, "dim") or 0
        if not isinstance(sizes, (list, tuple)):
            sizes, each = [sizes], " each"
        numbers = tuple(sizes)
    if not isinstance(dim, int) or any(number is None for number in numbers):
        return []
    dim %= tensor.dim()
    return [Site(f"{kind}{each} {dim} of {tensor.dim()}", numbers, dim)]
