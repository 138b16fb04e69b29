"""Operations that only move elements: they are applied to the labels themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from srdeploy.models.watch import tensors_in
from srdeploy.prune.marks import Ledger, Marks
from srdeploy.prune.rules.call import Call, marks_of_first, unsupported
from srdeploy.prune.rules.layers import tie_positions


def same(ledger: Ledger, call: Call) -> None:
    """A copy or an alias, perhaps of another dtype or memory format."""
    marks = ledger.marks_of(call.original[0])
    if marks is not None:
        ledger.record(call.out, marks)


def like(ledger: Ledger, call: Call) -> None:
    """A new tensor with the channels of another (``zeros_like``...)."""
    marks = marks_of_first(ledger, call)
    ledger.record(call.out, Marks.of(marks.labels, (call.out == 0).double(), marks.shape))


def constant(ledger: Ledger, call: Call) -> None:
    """A new tensor that takes no more than its dtype from another (``new_zeros``...)."""


def structural(ledger: Ledger, call: Call) -> None:
    """Move labels and cleanness the way the elements move."""

    def moved(pick: Callable[[Marks], Tensor]) -> list[Tensor]:
        def substitute(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            marks = ledger.marks_of(leaf)
            if marks is None:
                return torch.zeros(leaf.shape, dtype=torch.float64)
            # In order: a clone of what is spread out may lie in memory in another one.
            return pick(marks).clone(memory_format=torch.contiguous_format)

        args, kwargs = tree_map(substitute, (call.original, call.kwargs))
        return tensors_in(call.func(*args, **kwargs))

    labels, clean = moved(Marks.full_labels), moved(Marks.full_clean)
    for out, label, own in zip(call.tensors_out(), labels, clean, strict=True):
        ledger.record(out, Marks.of(label, torch.where(label == 0, 1.0, own)))


def pad(ledger: Ledger, call: Call) -> None:
    """Padding with a number: in space it belongs to the channel, beside channels to none."""
    x, widths = call.original[:2]
    marks = marks_of_first(ledger, call)
    filled = call.argument("value") != 0
    labels, clean = marks.full_labels(), marks.full_clean()
    border = torch.zeros(x.shape, dtype=torch.bool)
    for position in range(len(widths) // 2):
        low, high = widths[2 * position : 2 * position + 2]
        dim = x.dim() - 1 - position
        if (low or high) and ledger.varies(marks, dim):
            if min(low, high) < 0:
                ledger.freeze(x, f"cut at fixed positions by {call.name} in {ledger.place}")
            edges = [0] * (2 * position) + [low, high]
            labels, clean, border = (
                torch.nn.functional.pad(t, edges, value=v)
                for t, v in ((labels, 0.0), (clean, 1.0), (border, False))
            )
            continue
        n = labels.shape[dim]
        index = torch.arange(-low, n + high)
        inside = index.clamp(0, n - 1)
        labels, clean, border = (t.index_select(dim, inside) for t in (labels, clean, border))
        border.index_fill_(dim, torch.nonzero(index != inside).flatten(), True)
    clean = torch.where(border, float(not filled), clean)
    ledger.record(call.out, Marks.of(labels, clean))


def roll(ledger: Ledger, call: Call) -> None:
    """Rolling by a fixed number of channels means something else when some are gone."""
    _freeze_where_varying(ledger, call, call.argument("dims") or range(call.original[0].dim()))
    structural(ledger, call)


def unfold(ledger: Ledger, call: Call) -> None:
    """Sliding windows of a fixed size."""
    _freeze_where_varying(ledger, call, [call.argument("dimension")])
    structural(ledger, call)


def pick(ledger: Ledger, call: Call) -> None:
    """Elements at given indices, which are fixed positions."""
    x, *rest = call.original
    if any(ledger.marks_of(t) is not None for t in tensors_in(rest)):
        raise unsupported(ledger, call, "positions that depend on the image")
    marks = marks_of_first(ledger, call)
    _freeze_where_varying(ledger, call, range(x.dim()))
    labels, clean = (call.func(t.clone(), *rest) for t in (marks.full_labels(), marks.full_clean()))
    ledger.record(call.out, Marks.of(labels, clean))


def cut(ledger: Ledger, call: Call) -> None:
    """Slices and splits: ``chunk`` follows the number of channels, fixed positions do not."""
    x = call.original[0]
    marks = marks_of_first(ledger, call)
    dim = call.argument("dim") % x.dim()
    outs = call.tensors_out()
    whole = len(outs) == 1 and outs[0].shape == x.shape
    if not whole and ledger.varies(marks, dim):
        if ledger.in_chunk and len({t.shape for t in outs}) == 1:
            nodes = np.moveaxis(marks.nodes(), dim, 0)
            first, *others = np.split(nodes, len(outs))
            for part in others:
                ledger.tie(first, part, f"chunked evenly in {ledger.place}")
        else:
            ledger.freeze(
                x, f"cut at fixed positions by {call.name} in {ledger.place} (chunk is not)"
            )
    structural(ledger, call)


def view(ledger: Ledger, call: Call) -> None:
    """A reshape may merge channels with space, but not take them apart."""
    x, shape = call.original[0], call.out.shape
    marks = marks_of_first(ledger, call)
    for dim in _split_dims(x.shape, shape):
        if ledger.varies(marks, dim):
            ledger.freeze(
                x,
                f"reshaped from {list(x.shape[1:])} to {list(shape[1:])} in {ledger.place} "
                "(PixelShuffle and ChannelShuffle can be followed)",
            )
    structural(ledger, call)


def pixel_shuffle(ledger: Ledger, call: Call) -> None:
    """Blocks of r^2 channels become one channel: they live or die together."""
    structural(ledger, call)
    marks = ledger.marks_of(call.out)
    assert marks is not None
    factor = call.argument("upscale_factor")
    ledger.channels(
        marks, call.out.dim() - 3, f"{factor**2} to a pixel block of PixelShuffle in {ledger.place}"
    )


def channel_shuffle(ledger: Ledger, call: Call) -> None:
    """Groups are interleaved: each must keep the same positions."""
    marks = marks_of_first(ledger, call)
    channels = ledger.channels(marks, 1)
    why = f"interleaved by ChannelShuffle in {ledger.place}"
    tie_positions(ledger, channels, call.argument("groups"), why)
    structural(ledger, call)


def _freeze_where_varying(ledger: Ledger, call: Call, dims: Sequence[int]) -> None:
    x = call.original[0]
    marks = marks_of_first(ledger, call)
    if any(ledger.varies(marks, dim % x.dim()) for dim in dims):
        ledger.freeze(x, f"taken from fixed positions by {call.name} in {ledger.place}")


def _split_dims(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Dimensions of ``before`` that a reshape to ``after`` takes apart."""
    split: list[int] = []
    i = j = 0
    while i < len(before) and j < len(after):
        group, parts = [i], [after[j]]
        left, right = before[i], after[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left *= before[i]
                group.append(i)
                i += 1
            else:
                right *= after[j]
                parts.append(after[j])
                j += 1
        if sum(n > 1 for n in parts) > 1:
            split += group
    return split
