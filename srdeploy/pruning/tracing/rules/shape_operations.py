"""Operations that only move elements: they are applied to the labels themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from srdeploy.models.layers import ChannelSplit
from srdeploy.models.watch import tensors_in
from srdeploy.pruning.tracing.channel_labels import ChannelLabels, Labelling, NotFollowedError
from srdeploy.pruning.tracing.cut_numbers import cut_key, pieces
from srdeploy.pruning.tracing.rules.call import Call, labels_of_first
from srdeploy.pruning.tracing.rules.layers import tie_positions

CUT = "cut at fixed positions"
"""How the reason begins for which channels stay that code cuts at numbers of its own."""


def same(labelling: Labelling, call: Call) -> None:
    """A copy or an alias, perhaps of another dtype or memory format."""
    labelled = labelling.labels_of(call.original[0])
    if labelled is not None:
        labelling.record(call.out, labelled)


def like(labelling: Labelling, call: Call) -> None:
    """A new tensor with the channels of another (``zeros_like``...)."""
    labelled = labels_of_first(labelling, call)
    labelling.record(
        call.out, ChannelLabels.of(labelled.labels, (call.out == 0).double(), labelled.shape)
    )


def constant(labelling: Labelling, call: Call) -> None:
    """A new tensor that takes no more than its dtype from another (``new_zeros``...)."""


def as_strided(labelling: Labelling, call: Call) -> None:
    """The same elements at the same places, as pooling of channels-last tensors ends with."""
    x, out = call.original[0], call.out
    memory = torch.arange(x.untyped_storage().nbytes() // x.element_size())
    before, after = (memory.as_strided(t.shape, t.stride(), t.storage_offset()) for t in (x, out))
    if not torch.equal(before, after):
        raise NotFollowedError("another way to read the memory")
    same(labelling, call)


def structural(labelling: Labelling, call: Call) -> None:
    """Move labels and cleanness the way the elements move."""

    def moved(pick: Callable[[ChannelLabels], Tensor], otherwise: float) -> list[Tensor]:
        def substitute(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            labelled = labelling.labels_of(leaf)
            if labelled is None:
                return torch.full(leaf.shape, otherwise, dtype=torch.float64)
            # In order: a clone of what is spread out may lie in memory in another one.
            return pick(labelled).clone(memory_format=torch.contiguous_format)

        args, kwargs = tree_map(substitute, (call.original, call.kwargs))
        return tensors_in(call.func(*args, **kwargs))

    labels, clean = moved(ChannelLabels.full_labels, 0.0), moved(ChannelLabels.full_clean, 1.0)
    for out, label, own in zip(call.tensors_out(), labels, clean, strict=True):
        labelling.record(out, ChannelLabels.of(label, own))


def pad(labelling: Labelling, call: Call) -> None:
    """Padding with a number: in space it belongs to the channel, beside channels to none."""
    x, widths = call.original[:2]
    labelled = labels_of_first(labelling, call)
    filled = call.argument("value") != 0
    labels, clean = labelled.full_labels(), labelled.full_clean()
    border = torch.zeros(x.shape, dtype=torch.bool)
    for position in range(len(widths) // 2):
        low, high = widths[2 * position : 2 * position + 2]
        dim = x.dim() - 1 - position
        if (low or high) and labelling.varies(labelled, dim):
            if min(low, high) < 0:
                labelling.freeze(x, f"{CUT} by {call.name} in {labelling.place}")
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
    labelling.record(call.out, ChannelLabels.of(labels, clean))


def im2col(labelling: Labelling, call: Call) -> None:
    """Windows of pixels, each laid out as channels; padding in space belongs to the channel."""
    labelled = labels_of_first(labelling, call)
    kernel, dilation, (tall, wide), stride = call.args[1:5]
    if labelling.varies(labelled, len(labelled.shape) - 1) or labelled.labels.shape[-2] > 1:
        structural(labelling, call)
        return
    edges = [wide, wide, tall, tall]
    labels, clean = labelled.full_labels(), labelled.full_clean()
    labels = torch.nn.functional.pad(labels, edges, mode="replicate")
    clean = torch.nn.functional.pad(clean, edges, value=1.0)
    cut = [call.func(t, kernel, dilation, [0, 0], stride) for t in (labels, clean)]
    labelling.record(call.out, ChannelLabels.of(*cut))


def roll(labelling: Labelling, call: Call) -> None:
    """Rolling by a fixed number of channels means something else when some are gone."""
    _freeze_where_varying(labelling, call, call.argument("dims") or range(call.original[0].dim()))
    structural(labelling, call)


def unfold(labelling: Labelling, call: Call) -> None:
    """Sliding windows of a fixed size."""
    _freeze_where_varying(labelling, call, [call.argument("dimension")])
    structural(labelling, call)


def pick(labelling: Labelling, call: Call) -> None:
    """Elements at given indices, which are fixed positions."""
    x, *rest = call.original
    if any(labelling.labels_of(t) is not None for t in tensors_in(rest)):
        raise NotFollowedError("positions that depend on the image")
    labelled = labels_of_first(labelling, call)
    _freeze_where_varying(labelling, call, range(x.dim()))
    labels, clean = (
        call.func(t.clone(), *rest) for t in (labelled.full_labels(), labelled.full_clean())
    )
    labelling.record(call.out, ChannelLabels.of(labels, clean))


def gather(labelling: Labelling, call: Call) -> None:
    """Pixels at given places, the same for every channel; the places may depend on the image."""
    x, index = call.original[0], call.argument("index")
    labelled, places = labels_of_first(labelling, call), labelling.labels_of(index)
    dim = call.argument("dim") % x.dim()
    varying = [d for d in range(x.dim()) if labelling.varies(labelled, d)]
    if places is not None and bool(places.labels.any()):
        raise NotFollowedError("positions that depend on channels")
    if dim in varying or any(index.stride(d) and index.shape[d] > 1 for d in varying):
        raise NotFollowedError("positions that differ between channels")
    labels, clean = (
        t[tuple(slice(min(n, m)) for n, m in zip(t.shape, index.shape, strict=True))]
        for t in (labelled.labels, labelled.clean.amin(dim, keepdim=True))
    )
    labels = labels.narrow(dim, 0, 1)
    labelling.record(call.out, ChannelLabels.of(labels, clean, call.out.shape))


def cut(labelling: Labelling, call: Call) -> None:
    """Slices and splits: ``chunk`` and our own split follow the widths, fixed positions do not."""
    x = call.original[0]
    labelled = labels_of_first(labelling, call)
    dim = call.argument("dim") % x.dim()
    outs = call.tensors_out()
    whole = len(outs) == 1 and outs[0].shape == x.shape
    follows = isinstance(labelling.place.innermost, ChannelSplit)
    if not whole and not follows and labelling.varies(labelled, dim):
        if labelling.in_chunk and len({t.shape for t in outs}) == 1:
            nodes = np.moveaxis(labelled.nodes(), dim, 0)
            first, *others = np.split(nodes, len(outs))
            for part in others:
                labelling.tie(first, part, f"chunked evenly in {labelling.place}")
        elif not _cut_by_attributes(labelling, call, labelled, dim):
            why = f"{CUT} by {call.name} in {labelling.place} (chunk is not)"
            nodes = labelled.nodes()
            if labelling.cuts.cut(nodes, dim, why):
                pass
            elif any(labelling.varies(labelled, other) for other in range(x.dim()) if other != dim):
                labelling.cuts.fix(nodes, dim, why)  # it may be another that shrinks
            else:
                labelling.freeze(x, why)
    structural(labelling, call)


def _cut_by_attributes(labelling: Labelling, call: Call, labelled: ChannelLabels, dim: int) -> bool:
    """Whether all positions are attributes, or follow from them and the number of channels."""
    key = cut_key(labelling.place.name, call.name, call.args)
    attributes = None if key is None else labelling.cut_numbers.get(key)
    if key is None or attributes is None:
        return False
    length = labelled.shape[dim]
    if call.name == "slice":
        known = all(a or n in (0, length) for n, a in zip(key[3], attributes, strict=True))
    else:
        known = None not in attributes
    if not known:
        return False
    channels = labelling.channels(labelled, dim)
    if call.name == "split":  # into pieces of one size
        if length % key[3][0]:
            return False
        tie_positions(labelling, channels, length // key[3][0], f"cut evenly in {labelling.place}")
    for attribute, start, stop in pieces(key, attributes):
        labelling.count(labelling.place.name, attribute, channels[start:stop])
    return True


def view(labelling: Labelling, call: Call) -> None:
    """A reshape may merge channels with space, and take them apart into sides of a box."""
    labels_of_first(labelling, call)
    x, shape = labelling.before_mixing(call.original[0]), call.out.shape
    labelled = labelling.labels_of(x)
    assert labelled is not None
    for dims, into in _taken_apart(x.shape, shape):
        varying = [dim for dim in dims if labelling.varies(labelled, dim)]
        if not varying:
            continue
        dim = varying[0]
        before = math.prod(x.shape[dims[0] : dim])
        after = math.prod(x.shape[dim + 1 : dims[-1] + 1])
        sides = _between([shape[i] for i in into], before, after)
        if len(varying) > 1 or sides is None:
            why = f"reshaped from {list(x.shape[1:])} to {list(shape[1:])} in {labelling.place}"
            labelling.record_mixed(call.out, x, why)
        elif len(sides) > 1:
            nodes = np.moveaxis(labelled.nodes(), dim, 0)
            labelling.boxes.split(nodes.reshape(len(nodes), -1), sides, labelling.place)
    structural(labelling, call)


def pixel_shuffle(labelling: Labelling, call: Call) -> None:
    """Blocks of r^2 channels become one channel: they live or die together."""
    structural(labelling, call)
    labelled = labelling.labels_of(call.out)
    assert labelled is not None
    factor = call.argument("upscale_factor")
    labelling.channels(
        labelled,
        call.out.dim() - 3,
        f"{factor**2} to a pixel block of PixelShuffle in {labelling.place}",
    )


def channel_shuffle(labelling: Labelling, call: Call) -> None:
    """Groups are interleaved: each must keep the same positions."""
    labelled = labels_of_first(labelling, call)
    channels = labelling.channels(labelled, 1)
    why = f"interleaved by ChannelShuffle in {labelling.place}"
    tie_positions(labelling, channels, call.argument("groups"), why)
    structural(labelling, call)


def _freeze_where_varying(labelling: Labelling, call: Call, dims: Sequence[int]) -> None:
    x = call.original[0]
    labelled = labels_of_first(labelling, call)
    if any(labelling.varies(labelled, dim % x.dim()) for dim in dims):
        labelling.freeze(x, f"taken from fixed positions by {call.name} in {labelling.place}")


def _taken_apart(before: Sequence[int], after: Sequence[int]) -> list[tuple[range, range]]:
    """Dimensions that a reshape takes apart, and what it makes of them."""
    found: list[tuple[range, range]] = []
    i = j = 0
    while i < len(before) and j < len(after):
        first, start = i, j
        left, right = before[i], after[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left *= before[i]
                i += 1
            else:
                right *= after[j]
                j += 1
        if sum(n > 1 for n in after[start:j]) > 1:
            found.append((range(first, i), range(start, j)))
    return found


def _between(sizes: Sequence[int], before: int, after: int) -> list[int] | None:
    """Those sizes above 1 that lie between others of two products; None if none do exactly."""
    wide = [size for size in sizes if size > 1]
    for product, end in ((before, 0), (after, -1)):
        while product > 1 and wide:
            product, rest = divmod(product, wide.pop(end))
            if rest:
                return None
        if product != 1:
            return None
    return wide
