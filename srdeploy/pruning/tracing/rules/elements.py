"""Elementwise operations: elements that meet are tied, and f(0) says whether zeros survive."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from srdeploy.models.watch import tensors_in
from srdeploy.pruning.tracing.channel_labels import ChannelLabels, Labelling, NotFollowedError
from srdeploy.pruning.tracing.rules.call import Call, labels_of_first

_VERBS = {"add": "added together", "sub": "added together", "mul": "multiplied together"}
_PROBES = (1.13, -2.57, 7.3e6, -9.5e6, 0.0)  # not round: a remainder of them is not zero


def pointwise(labelling: Labelling, call: Call) -> None:
    """Any operation that computes each element from the elements at the same place."""
    if not isinstance(call.out, Tensor):
        raise NotFollowedError("several results")
    originals = tensors_in((call.original, call.kwargs))
    values = tensors_in((call.args, call.kwargs))
    labelled = [labelling.labels_of(t) for t in originals]
    shared = _shared_by_channels(labelling, originals, labelled)
    for i in shared:
        labelling.freeze(originals[i], f"applied to every channel of another in {labelling.place}")
    tied = [m for i, m in enumerate(labelled) if m is not None and i not in shared]
    for own in tied:
        _freeze_against_fixed(labelling, originals, labelled, own)
    activations = [
        i
        for i, m in enumerate(labelled)
        if m is not None and i not in shared and not labelling.is_stored(originals[i])
    ]
    verb = _VERBS.get(call.name, f"combined by {call.name}")
    why = f"{verb} in {labelling.place}" if len(activations) > 1 else None
    together = np.zeros([1] * call.out.dim(), dtype=np.int64)
    for own in tied:
        nodes = own.nodes()
        labelling.sets.join(together, nodes, why)
        together = np.where(together == 0, nodes, together)
    labels = torch.as_tensor(labelling.sets.find(together), dtype=torch.float64)
    clean = _clean_after(call, values, labelled, shared)
    new = ChannelLabels.of(labels, clean, call.out.shape)
    if call.in_place and labelling.sharing(call.out):
        _must_not_change(labelling, call, labelled[0], new)
    labelling.record(call.out, new)


def copy(labelling: Labelling, call: Call) -> None:
    """Overwriting a whole tensor; overwriting a part of one cannot be followed."""
    target, source = call.original[:2]
    old, new = labelling.labels_of(target), labelling.labels_of(source)
    if new is None or new.shape != target.shape:
        raise NotFollowedError("overwriting a part of a tensor")
    if old is not None:
        labelling.tie(old.nodes(), new.nodes(), f"written over each other in {labelling.place}")
    if labelling.sharing(target):
        _must_not_change(labelling, call, old, new)
    labelling.record(target, new)


def glu(labelling: Labelling, call: Call) -> None:
    """Gated linear unit: the first half of the channels times the sigmoid of the second."""
    labelled = labels_of_first(labelling, call)
    dim = call.argument("dim")
    first, second = labelled.full_labels().chunk(2, dim)
    a, b = (half.numpy().astype(np.int64) for half in (first, second))
    labelling.tie(a, b, f"multiplied together in {labelling.place}")
    labelling.record(call.out, ChannelLabels.of(first, labelled.full_clean().chunk(2, dim)[0]))


def _freeze_against_fixed(
    labelling: Labelling,
    tensors: list[Tensor],
    labelled: list[ChannelLabels | None],
    own: ChannelLabels,
) -> None:
    """A constant with one value per channel cannot be cut: channels that meet it stay."""
    nodes = own.nodes()
    for tensor, other in zip(tensors, labelled, strict=True):
        for dim in range(1, min(tensor.dim(), len(own.shape)) + 1):
            spread = tensor.shape[-dim] == 1 or tensor.stride(-dim) == 0  # one number for all
            if spread or not labelling.varies(own, len(own.shape) - dim):
                continue
            fixed = 0 if other is None else other.nodes()
            kind = "kept" if labelling.is_settled(tensor) else "fixed"
            labelling.sets.freeze(
                np.where(fixed == np.zeros_like(nodes), nodes, 0),
                f"combined with a {kind} tensor of shape {list(tensor.shape)} in {labelling.place}",
            )


def _shared_by_channels(
    labelling: Labelling, tensors: list[Tensor], labelled: list[ChannelLabels | None]
) -> set[int]:
    """Arguments of one channel that are broadcast over the channels of another."""
    shared: set[int] = set()
    for i, (tensor, own) in enumerate(zip(tensors, labelled, strict=True)):
        if own is None:
            continue
        for other in (m for j, m in enumerate(labelled) if j != i and m is not None):
            for dim in range(1, len(other.shape) + 1):  # from the right
                mine = tensor.shape[-dim] if dim <= tensor.dim() else 1
                if mine == 1 and labelling.varies(other, len(other.shape) - dim):
                    shared.add(i)
    return shared


def _must_not_change(
    labelling: Labelling, call: Call, old: ChannelLabels | None, new: ChannelLabels
) -> None:
    """A change in place of memory that other tensors see may not make their labels wrong."""
    same = old is not None and bool(
        torch.equal(*torch.broadcast_tensors(old.labels == 0, new.labels == 0))
        and torch.equal(*torch.broadcast_tensors(old.clean, new.clean))
    )
    if not same:
        raise NotFollowedError("a change in place of memory that other tensors share")


def _clean_after(
    call: Call, values: list[Tensor], labelled: list[ChannelLabels | None], shared: set[int]
) -> Tensor:
    """Run the operation on zeros where channels are gone, and see where it gives zero.

    Elements that are not clean could be anything once their channel is gone: probe values,
    different for each argument, stand for them, and only a zero for all probes counts. Of
    conditions every combination is tried. Constants keep their values.
    """
    clean: Tensor | None = None
    for probe in range(max(len(_PROBES), 2 ** len(values))):
        substitutes = [
            value if own is None else _substitute(value, own, i, probe, i in shared)
            for i, (value, own) in enumerate(zip(values, labelled, strict=True))
        ]
        if call.in_place:
            shape = np.broadcast_shapes(*(tuple(s.shape) for s in substitutes))
            substitutes[0] = substitutes[0].expand(shape).clone()
        queue = iter(substitutes)
        args, kwargs = tree_map(
            lambda leaf, q=queue: next(q) if isinstance(leaf, Tensor) else leaf,
            (call.args, call.kwargs),
        )
        result = call.func(*args, **kwargs)
        zero = result == 0
        if _PROBES[probe % len(_PROBES)] == 0:  # 0 / 0 is no number, 0 / anything else 0
            zero |= result.isnan()
        clean = zero if clean is None else clean & zero
    assert clean is not None
    return clean.double()


def _substitute(
    value: Tensor, own: ChannelLabels, position: int, probe: int, shared: bool
) -> Tensor:
    if value.dtype == torch.bool:
        stand_in: Any = bool(probe >> position & 1)
    else:
        stand_in = _PROBES[probe % len(_PROBES)] * (1 + 0.37 * position)
    unknown = torch.full(own.clean.shape, stand_in, dtype=torch.float64).to(value.dtype)
    if shared:
        return unknown
    gone = torch.where(own.clean > 0, torch.zeros_like(unknown), unknown)
    constant = (own.labels == 0) & (own.clean > 0)
    if bool(constant.any()):
        return torch.where(constant, value, gone)
    return torch.where(own.labels == 0, unknown, gone)
