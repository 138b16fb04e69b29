"""Products of activations as matrices: attention, in whatever form a network writes it.

``q @ k.transpose(-2, -1)`` and ``attention @ v``, ``torch.einsum`` of two tensors, and
``scaled_dot_product_attention`` are one rule, for a sum over shared indices. It is followed where
it is called, not in the operations that torch makes of it.

- Channels along a summed index (those of ``q`` and ``k`` in attention between pixels) are gone from
  the result. They are removed from both factors at once, at the same place of every head.
- Channels along an index that stays in the result (those of ``v``) are carried along.
- A factor may come from parameters alone (learned tokens), if layers have issued its channels.
- Where channels of one factor meet channels of the other (attention between channels), all of a
  head belong together: it is removed as a whole, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

import numpy as np
import torch
from torch import Tensor

from srdeploy.pruning.tracing.channel_labels import ChannelLabels, Labelling, NotFollowedError
from srdeploy.pruning.tracing.rules.call import Call
from srdeploy.pruning.tracing.unionfind import Nodes

PRODUCTS = {"matmul", "__matmul__", "bmm", "einsum", "scaled_dot_product_attention"}
"""Functions and methods that are followed as a whole where both factors come from the image."""


def factors(name: str, args: Sequence[object], kwargs: dict[str, object]) -> list[Tensor]:
    """What a call multiplies; empty where the rule is not for it."""
    given = [*args, *kwargs.values()]
    if name == "einsum":
        if not given or not isinstance(given[0], str):
            return []
        given = [*given[1]] if isinstance(given[1], (list, tuple)) else given[1:]
        return _tensors(given) if len(given) == 2 else []
    count = 3 if name == "scaled_dot_product_attention" else 2
    found = _tensors(given[:count])
    return found if len(found) == count and all(t.dim() > 1 for t in found) else []


def matmul(labelling: Labelling, call: Call) -> None:
    """A product of two stacks of matrices."""
    a, b = _tensors([*call.original, *call.kwargs.values()])
    stack = ascii_letters[: max(a.dim(), b.dim()) - 2]
    letters = (f"{stack[len(stack) + 2 - t.dim() :]}{own}" for t, own in ((a, "XY"), (b, "YZ")))
    _record(labelling, call, _contract(labelling, _both(labelling, a, b), (*letters, f"{stack}XZ")))


def einsum(labelling: Labelling, call: Call) -> None:
    """A sum over the products of two tensors, by its equation."""
    equation, *given = call.original
    a, b = _tensors(given[0] if isinstance(given[0], (list, tuple)) else given)
    letters = _subscripts(equation, a.dim(), b.dim())
    _record(labelling, call, _contract(labelling, _both(labelling, a, b), letters))


def attention(labelling: Labelling, call: Call) -> None:
    """Both products of attention and the softmax between them, as one function of torch."""
    q, k, v = _tensors([*call.original, *call.kwargs.values()])[:3]
    if call.kwargs.get("enable_gqa"):
        raise NotFollowedError("heads that share keys")
    scaled = call.kwargs.get("scale") is not None
    labels_q, labels_k = _both(labelling, q, k)
    for tensor, own in ((q, labels_q), (k, labels_k)):
        if not scaled and labelling.varies(own, len(own.shape) - 1):
            labelling.freeze(tensor, f"attention is scaled by their number in {labelling.place}")
    stack = ascii_letters[: q.dim() - 2]
    if not q.dim() == k.dim() == v.dim():
        raise NotFollowedError("factors with other numbers of dimensions")
    table = _contract(labelling, (labels_q, labels_k), (f"{stack}XY", f"{stack}ZY", f"{stack}XZ"))
    if labelling.varies(table, len(table.shape) - 1):
        labelling.sets.freeze(
            table.nodes(), f"weighed against others by softmax in {labelling.place}"
        )
    weights = ChannelLabels(table.labels, torch.zeros_like(table.clean), table.shape)
    for mask in _tensors([*call.original[3:], call.kwargs.get("attn_mask")]):
        why = f"combined with a mask in {labelling.place}"
        labelling.keep(mask, why)
        labelling.sets.freeze(table.nodes(), why)
    _, labels_v = _both(labelling, q, v)
    found = _contract(labelling, (weights, labels_v), (f"{stack}XZ", f"{stack}ZY", f"{stack}XY"))
    _record(labelling, call, found)


def _tensors(given: Sequence[object]) -> list[Tensor]:
    return [one for one in given if isinstance(one, Tensor)]


def _both(labelling: Labelling, a: Tensor, b: Tensor) -> tuple[ChannelLabels, ChannelLabels]:
    found = labelling.labels_of(a), labelling.labels_of(b)
    if found[0] is None or found[1] is None:
        raise NotFollowedError("a factor that does not come from the image")
    return found[0], found[1]


def _record(labelling: Labelling, call: Call, found: ChannelLabels) -> None:
    if found.shape != call.out.shape:
        raise NotFollowedError("a result of unexpected shape")
    labelling.record(call.out, found)


def _subscripts(equation: str, *dims: int) -> tuple[str, str, str]:
    """An equation's letters of both factors and the result, ``...`` spelled out."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    free = [letter for letter in ascii_letters if letter not in equation]
    hidden = max((dim - len(part) + 3 for part, dim in zip(parts, dims, strict=True)
                  if "..." in part), default=0)  # fmt: skip
    spelled = free[:hidden]

    def spell(part: str, count: int) -> str:
        return part.replace("...", "".join(spelled[hidden - count :]) if count else "")

    a, b = (spell(part, dim - len(part) + 3) for part, dim in zip(parts, dims, strict=True))
    if not arrow:
        raise NotFollowedError("an equation without its result")
    out = spell(right, hidden)
    if any(len(set(part)) < len(part) for part in (a, b, out)) or set(out) - set(a + b):
        raise NotFollowedError("an equation with a diagonal")
    return a, b, out


def _contract(
    labelling: Labelling, factors: tuple[ChannelLabels, ChannelLabels], letters: Sequence[str]
) -> ChannelLabels:
    """Labels of the sum of the products of two tensors over the indices that the result lacks."""
    of_a, of_b, of_out = letters
    order = list(dict.fromkeys(of_a + of_b))
    if any((letter in of_a) != (letter in of_b) for letter in order if letter not in of_out):
        raise NotFollowedError("a sum over one factor alone")
    sizes: dict[str, int] = {}
    for own, labels in zip(letters, factors, strict=False):
        for letter, size in zip(own, labels.shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    shape = torch.Size(sizes[letter] for letter in of_out)
    a, b = (
        labelling.sets.find(_spread(own.nodes(), part, order))
        for own, part in zip(factors, letters, strict=False)
    )
    zero_a, zero_b = (
        _spread((own.clean * (own.labels != 0)).numpy(), part, order)
        for own, part in zip(factors, letters, strict=False)
    )
    summed = tuple(axis for axis, letter in enumerate(order) if letter not in of_out)
    mixed = [axis for axis in summed if _varies(a, axis) or _varies(b, axis)]
    if len(mixed) > 1:
        raise NotFollowedError("a sum over several indices of channels")
    if mixed:
        labelling.tie(a, b, f"multiplied with each other in {labelling.place}")
        a, b = labelling.sets.find(a), labelling.sets.find(b)
        if _varies(a, mixed[0]) or _varies(b, mixed[0]):
            _sum_away(labelling, (a, b), (zero_a, zero_b), mixed[0])
            return ChannelLabels.settled(shape)
    a, b = a.max(summed, keepdims=True), b.max(summed, keepdims=True)
    zero_a, zero_b = zero_a.min(summed, keepdims=True), zero_b.min(summed, keepdims=True)
    shared = [axis for axis, letter in enumerate(order) if letter in of_a and letter in of_b]
    if a.any() and b.any():
        labelling.tie(a, b, f"all of a head, multiplied with each other in {labelling.place}")
        a, b = labelling.sets.find(a), labelling.sets.find(b)
        together = np.where(a == 0, b, a)
        if not any(_varies(together, axis) for axis in range(together.ndim)):
            labelling.sets.freeze(together, f"all multiplied with all in {labelling.place}")
    else:
        together = a if a.any() else b
        for axis in shared:  # of what stays whole, every head does
            _join_along(labelling, together, axis)
            together = labelling.sets.find(together)
        if not any(_varies(together, axis) for axis in range(together.ndim)):
            labelling.sets.freeze(together, f"multiplied with what stays in {labelling.place}")
    clean = np.where(together != 0, np.maximum(zero_a, zero_b), 0.0)
    back = [order.index(letter) for letter in of_out] + list(summed)
    small = [t.transpose(back).reshape([t.shape[i] for i in back[: len(of_out)]])
             for t in (together, clean)]  # fmt: skip
    joined, known = (torch.from_numpy(np.ascontiguousarray(t)).double() for t in small)
    return ChannelLabels.of(joined, known, shape)


def _sum_away(
    labelling: Labelling, nodes: tuple[Nodes, Nodes], zero: tuple[Nodes, Nodes], axis: int
) -> None:
    """Channels along a summed index: a removed one may add nothing to the sum."""
    for own in nodes:
        for other in range(own.ndim):
            if other != axis:
                _join_along(labelling, own, other)
    a_zero, b_zero = (np.moveaxis(own, axis, 0).reshape(own.shape[axis], -1).min(1) for own in zero)
    lost = np.maximum(a_zero, b_zero)
    for own in nodes:
        rows = np.moveaxis(labelling.sets.find(own), axis, 0).reshape(own.shape[axis], -1)
        labelling.sets.freeze(
            np.where(lost[:, None] == 0, rows, 0),  # rows may be one, for all places
            f"removed, they would not be zero where {labelling.place} multiplies them",
        )


def _join_along(labelling: Labelling, nodes: Nodes, axis: int) -> None:
    if _varies(labelling.sets.find(nodes), axis):
        why = f"at the same place of every head in {labelling.place}"
        labelling.tie(nodes.take([0], axis), nodes, why)


def _varies(nodes: Nodes, axis: int) -> bool:
    return nodes.shape[axis] > 1 and bool((nodes != nodes.take([0], axis)).any())


def _spread(values: Nodes, own: str, order: Sequence[str]) -> Nodes:
    """Dimensions by their letters in another order, with size 1 for letters that are not there."""
    moved = values.transpose([own.index(letter) for letter in order if letter in own])
    sizes = iter(moved.shape)
    return moved.reshape([next(sizes) if letter in own else 1 for letter in order])
