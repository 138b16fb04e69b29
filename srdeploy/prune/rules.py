"""What each kind of tensor operation does to channels: one rule per kind.

A rule sees an operation after it has run and records the marks of its output. See
:mod:`srdeploy.prune.trace` for the idea.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from srdeploy.prune.marks import Ledger, Marks, UnsupportedOperationError, clean_channels
from srdeploy.prune.unionfind import Nodes


@dataclass
class Call:
    """One intercepted operation.

    Attributes:
        func: The aten operator.
        name: Its name without overload and trailing underscore.
        args: Positional arguments, an in-place target as it was before.
        kwargs: Keyword arguments.
        out: What it returned.
        original: The positional arguments themselves (to look marks up by identity).
    """

    func: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    original: tuple[Any, ...]

    def argument(self, name: str) -> Any:
        """An argument by its name in the operator's schema (None when absent)."""
        for position, formal in enumerate(self.func._schema.arguments):
            if formal.name == name:
                if position < len(self.args):
                    return self.args[position]
                return self.kwargs.get(name, formal.default_value)
        return None


Rule = Callable[[Ledger, Call], None]


def rule_for(call: Call) -> Rule | None:
    """The rule of an operation, None when there is none."""
    if call.name in _SPECIAL:
        return _SPECIAL[call.name]
    if call.name in _POINTWISE or torch.Tag.pointwise in call.func.tags:
        return pointwise
    return None


# -- layers -----------------------------------------------------------------------------------


def convolution(ledger: Ledger, call: Call) -> None:
    """Any convolution: reads channels on one axis of its weight, issues fresh ones on another."""
    x, weight, bias = call.original[:3]
    transposed, groups = call.args[6], call.args[8]
    layer = _layer_name(ledger, call, weight)
    marks = ledger.marks_of(x)
    n_in = x.shape[1]
    read = (
        np.zeros(n_in, dtype=np.int64)
        if marks is None
        else ledger.channels(marks, 1, f"side by side in one channel read by '{layer}'")
    )
    out_dim, in_dim = (1, 0) if transposed else (0, 1)
    depthwise = groups == n_in and groups > 1
    if depthwise and (not transposed or weight.shape[1] == 1):
        issued = ledger.axis(weight, 0, "out")
        carried = read.repeat(len(issued) // n_in)
        ledger.sets.join(issued, carried, f"carried through the depthwise '{layer}'")
    else:
        if marks is not None:
            _must_be_clean(ledger, marks, read, 1, layer)
        own = ledger.axis(weight, in_dim, "in")
        out = ledger.axis(weight, out_dim, "out")
        tied = f"tied across the {groups} groups of '{layer}'"
        if transposed:
            ledger.sets.join(own, read)
            _tie_positions(ledger, own, groups, tied)
            issued = np.tile(out, groups)
        else:
            ledger.sets.join(np.tile(own, groups), read, tied if groups > 1 else None)
            _tie_positions(ledger, out, groups, tied)
            issued = out
    _finish_layer(ledger, call, weight, bias, read, issued, dim=1)


def linear(ledger: Ledger, call: Call) -> None:
    """A linear layer, in the forms it takes below autograd: linear, addmm, mm."""
    if call.name == "linear":
        x, weight = call.original[:2]
        bias = call.original[2] if len(call.original) > 2 else None
    else:
        bias = call.original[0] if call.name == "addmm" else None
        x, transposed = call.original[-2:] if call.name == "mm" else call.original[1:3]
        weight = ledger.weight_behind(transposed)
        if weight is None:
            raise _unsupported(ledger, call, "a product of two activations")
    layer = _layer_name(ledger, call, weight)
    marks = ledger.marks_of(x)
    dim = x.dim() - 1
    read = np.zeros(x.shape[-1], dtype=np.int64)
    if marks is not None:
        read = ledger.channels(marks, dim)
        _must_be_clean(ledger, marks, read, dim, layer)
    ledger.sets.join(ledger.axis(weight, 1, "in"), read)
    issued = ledger.axis(weight, 0, "out")
    _finish_layer(ledger, call, weight, bias, read, issued, dim=call.out.dim() - 1)


def _layer_name(ledger: Ledger, call: Call, weight: Tensor) -> str:
    name = ledger.names.get(id(weight))
    if name is None:
        raise _unsupported(ledger, call, "a weight that is computed, not stored")
    return name.rpartition(".")[0] or name


def _must_be_clean(ledger: Ledger, marks: Marks, read: Nodes, dim: int, layer: str) -> None:
    dirty = read[(clean_channels(marks, dim).numpy() == 0) & (read != 0)]
    ledger.sets.freeze(dirty, f"removed, it would not be zero where '{layer}' reads it")


def _finish_layer(
    ledger: Ledger, call: Call, weight: Tensor, bias: Any, read: Nodes, issued: Nodes, dim: int
) -> None:
    if (bias_marks := ledger.marks_of(bias)) is not None:
        ledger.sets.join(bias_marks.nodes().reshape(-1), issued)
    if not weight.requires_grad:
        name = ledger.names[id(weight)].rpartition(".")[0]
        ledger.sets.freeze(issued, f"the weights of '{name}' are frozen")
        ledger.sets.freeze(read, f"'{name}', whose weights are frozen, reads it")
    ledger.record(call.out, Marks.broadcast(issued, dim, call.out.shape))


def _tie_positions(ledger: Ledger, nodes: Nodes, groups: int, why: str) -> None:
    """Join index p of every group with index p of the first."""
    table = nodes.reshape(groups, -1)
    for row in table[1:]:
        ledger.sets.join(table[0], row, why)


# -- normalisation ----------------------------------------------------------------------------


def batch_norm(ledger: Ledger, call: Call) -> None:
    """Per-channel normalisation: its numbers go with the channel."""
    x, *numbers = call.original[:5]
    _normalise(ledger, call, x, [n for n in numbers if isinstance(n, Tensor)])


def group_norm(ledger: Ledger, call: Call) -> None:
    """Per-channel only when each group is one channel; otherwise channels see each other."""
    x, weight, bias = call.original[:3]
    numbers = [n for n in (weight, bias) if isinstance(n, Tensor)]
    if call.argument("group") != x.shape[1]:
        _freeze(ledger, x, f"normalised together with others by GroupNorm in {ledger.place}")
    _normalise(ledger, call, x, numbers)


def layer_norm(ledger: Ledger, call: Call) -> None:
    """Normalisation over trailing dimensions: over channels it mixes them."""
    x, shape = call.original[:2]
    marks = ledger.marks_of(x)
    assert marks is not None
    dims = range(x.dim() - len(shape), x.dim())
    if any(ledger.varies(marks, d) for d in dims):
        _freeze(ledger, x, f"normalised together with others by LayerNorm in {ledger.place}")
    ledger.record(call.out[0], Marks(marks.labels, torch.zeros_like(marks.clean)))


def _normalise(ledger: Ledger, call: Call, x: Tensor, numbers: list[Tensor]) -> None:
    marks = ledger.marks_of(x)
    assert marks is not None
    channels = ledger.channels(marks, 1)
    affine = False
    for number in numbers:
        own = ledger.marks_of(number)
        if own is None:
            if number.numel() > 1:
                ledger.sets.freeze(channels, f"normalised by fixed numbers in {ledger.place}")
            continue
        affine |= number is call.original[1]
        ledger.sets.join(own.nodes().reshape(-1), channels)
    # A removed channel has its weight and bias zeroed too, which makes it zero whatever came in.
    clean = torch.ones_like(marks.clean) if affine else marks.clean
    ledger.record(_first(call.out), Marks(marks.labels, clean))


# -- elements that meet -----------------------------------------------------------------------

_VERBS = {"add": "added together", "sub": "added together", "mul": "multiplied together"}
_PROBES = (1.0, -2.5)


def pointwise(ledger: Ledger, call: Call) -> None:
    """Elementwise operations: what meets is joined; f(0) says whether zeros survive."""
    originals = [t for t in tree_leaves((call.original, call.kwargs)) if isinstance(t, Tensor)]
    values = [t for t in tree_leaves((call.args, call.kwargs)) if isinstance(t, Tensor)]
    marks = [ledger.marks_of(t) for t in originals]
    out: Tensor = call.out
    shared = _shared_by_channels(ledger, originals, marks, out.shape)
    for i in shared:
        _freeze(ledger, originals[i], f"applied to every channel of another in {ledger.place}")
    tied = [i for i, m in enumerate(marks) if m is not None and i not in shared]
    labels = [_broadcast(marks[i].labels, out.shape) for i in tied]  # type: ignore[union-attr]
    _freeze_against_fixed(ledger, originals, marks, labels, out.shape)

    activations = [i for i in tied if id(originals[i]) not in ledger.names]
    verb = _VERBS.get(call.name, f"combined by {call.name}")
    why = f"{verb} in {ledger.place}" if len(activations) > 1 else None
    together = labels[0].numpy().astype(np.int64)
    for other in labels[1:]:
        nodes = other.numpy().astype(np.int64)
        ledger.sets.join(together, nodes, why)
        together = np.where(together == 0, nodes, together)
    new = Marks(
        torch.as_tensor(ledger.sets.find(together), dtype=torch.float64),
        _clean_after(call, values, marks, shared),
    )
    if out is call.original[0] and out._is_view():
        old = marks[0]
        if old is None or not torch.equal(_broadcast(old.clean, out.shape), new.clean):
            raise _unsupported(ledger, call, "an in-place change of part of a tensor")
    ledger.record(out, new)


def _shared_by_channels(
    ledger: Ledger, tensors: list[Tensor], marks: list[Marks | None], shape: torch.Size
) -> set[int]:
    """Arguments of one channel that are broadcast over the channels of another."""
    shared: set[int] = set()
    for i, (tensor, own) in enumerate(zip(tensors, marks, strict=True)):
        if own is None:
            continue
        for j, (other, other_marks) in enumerate(zip(tensors, marks, strict=True)):
            if i == j or other_marks is None:
                continue
            for dim in range(1, len(shape) + 1):  # from the right
                mine = tensor.shape[-dim] if dim <= tensor.dim() else 1
                theirs = other.shape[-dim] if dim <= other.dim() else 1
                if mine == 1 and theirs > 1 and ledger.varies(other_marks, other.dim() - dim):
                    shared.add(i)
    return shared


def _freeze_against_fixed(
    ledger: Ledger,
    tensors: list[Tensor],
    marks: list[Marks | None],
    labels: list[Tensor],
    shape: torch.Size,
) -> None:
    """A constant with one value per channel cannot be cut: such channels stay."""
    for tensor, own in zip(tensors, marks, strict=True):
        if own is not None:
            continue
        for dim in range(1, tensor.dim() + 1):
            if tensor.shape[-dim] == 1:
                continue
            for label in labels:
                whole = Marks(label, label)
                if ledger.varies(whole, len(shape) - dim):
                    ledger.sets.freeze(
                        whole.nodes(),
                        f"combined with a fixed tensor of shape {list(tensor.shape)} "
                        f"in {ledger.place}",
                    )


def _clean_after(
    call: Call, values: list[Tensor], marks: list[Marks | None], shared: set[int]
) -> Tensor:
    """Run the operation on zeros where channels are gone, and see where it gives zero.

    Elements that are not clean could be anything once their channel is gone: two probe values
    stand for them, and only a zero for both counts.
    """
    clean: Tensor | None = None
    for probe in _PROBES:
        substitutes = []
        for i, (value, own) in enumerate(zip(values, marks, strict=True)):
            if own is None:
                substitutes.append(value.clone())
                continue
            unknown = torch.full_like(value, probe)
            if i in shared:
                substitutes.append(unknown)
                continue
            gone = torch.where(own.clean > 0, torch.zeros_like(value), unknown)
            substitutes.append(torch.where(own.labels == 0, value, gone))
        queue = iter(substitutes)
        args, kwargs = tree_map(
            lambda leaf, q=queue: next(q) if isinstance(leaf, Tensor) else leaf,
            (call.args, call.kwargs),
        )
        zero = (call.func(*args, **kwargs) == 0).double()
        clean = zero if clean is None else clean * zero
    assert clean is not None
    return clean


def glu(ledger: Ledger, call: Call) -> None:
    """Gated linear unit: the first half of the channels times the sigmoid of the second."""
    marks = ledger.marks_of(call.original[0])
    dim = call.argument("dim")
    assert marks is not None
    first, second = (Marks(a, b) for a, b in _halves(marks, dim))
    ledger.sets.join(first.nodes(), second.nodes(), f"multiplied together in {ledger.place}")
    ledger.record(call.out, first)


def _halves(marks: Marks, dim: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(marks.labels.chunk(2, dim), marks.clean.chunk(2, dim), strict=True))


def softmax(ledger: Ledger, call: Call) -> None:
    """Over channels it mixes them; over space it turns zeros into something else."""
    marks = ledger.marks_of(call.original[0])
    assert marks is not None
    if ledger.varies(marks, call.argument("dim") % call.out.dim()):
        _freeze(ledger, call.original[0], f"weighed against others by softmax in {ledger.place}")
    ledger.record(call.out, Marks(marks.labels, torch.zeros_like(marks.clean)))


# -- elements that move -----------------------------------------------------------------------


def same(ledger: Ledger, call: Call) -> None:
    """A copy or an alias, perhaps of another dtype or memory format."""
    marks = ledger.marks_of(call.original[0])
    if marks is not None:
        ledger.record(call.out, marks)


def like(ledger: Ledger, call: Call) -> None:
    """A new tensor with the channels of another (``zeros_like``...)."""
    marks = ledger.marks_of(call.original[0])
    assert marks is not None
    ledger.record(call.out, Marks(marks.labels, (call.out == 0).double()))


def structural(ledger: Ledger, call: Call) -> None:
    """Operations that move elements are applied to the labels themselves."""

    def moved(pick: Callable[[Marks], Tensor], default: float) -> list[Tensor]:
        def substitute(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            marks = ledger.marks_of(leaf)
            if marks is None:
                return torch.full(leaf.shape, default, dtype=torch.float64)
            return pick(marks).clone()

        args, kwargs = tree_map(substitute, (call.original, call.kwargs))
        return [t for t in tree_leaves(call.func(*args, **kwargs)) if isinstance(t, Tensor)]

    labels = moved(lambda m: m.labels, 0.0)
    clean = moved(lambda m: m.clean, 1.0)
    outs = [t for t in tree_leaves(call.out) if isinstance(t, Tensor)]
    filled = call.name == "constant_pad_nd" and call.argument("value") not in (0, 0.0)
    for out, label, own in zip(outs, labels, clean, strict=True):
        own = torch.zeros_like(own) if filled else torch.where(label == 0, 1.0, own)
        ledger.record(out, Marks(label, own))


def cut(ledger: Ledger, call: Call) -> None:
    """Slices and splits: ``chunk`` follows the number of channels, fixed positions do not."""
    x = call.original[0]
    marks = ledger.marks_of(x)
    assert marks is not None
    dim = (call.argument("dim") or 0) % x.dim()
    outs = [t for t in tree_leaves(call.out) if isinstance(t, Tensor)]
    whole = len(outs) == 1 and outs[0].shape == x.shape
    if not whole and ledger.varies(marks, dim):
        parts = {t.shape for t in outs}
        if ledger.in_chunk and len(parts) == 1:
            nodes = np.moveaxis(marks.nodes(), dim, 0)
            for part in np.split(nodes, len(outs))[1:]:
                ledger.sets.join(
                    np.split(nodes, len(outs))[0], part, f"chunked evenly in {ledger.place}"
                )
        else:
            _freeze(
                ledger, x, f"cut at fixed positions by {call.name} in {ledger.place} (chunk is not)"
            )
    structural(ledger, call)


def view(ledger: Ledger, call: Call) -> None:
    """A reshape may merge channels with space, but not take them apart."""
    x, shape = call.original[0], call.out.shape
    marks = ledger.marks_of(x)
    assert marks is not None
    for dim in _split_dims(x.shape, shape):
        if ledger.varies(marks, dim):
            _freeze(
                ledger,
                x,
                f"reshaped from {list(x.shape[1:])} to {list(shape[1:])} in {ledger.place} "
                "(PixelShuffle and ChannelShuffle can be followed)",
            )
    structural(ledger, call)


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
    marks = ledger.marks_of(call.original[0])
    assert marks is not None
    groups = call.argument("groups")
    channels = ledger.channels(marks, 1)
    _tie_positions(ledger, channels, groups, f"interleaved by ChannelShuffle in {ledger.place}")
    structural(ledger, call)


# -- elements that merge ----------------------------------------------------------------------


def per_channel(ledger: Ledger, call: Call) -> None:
    """Pooling and interpolation: within a channel, never across."""
    x, out = call.original[0], _first(call.out)
    marks = ledger.marks_of(x)
    assert marks is not None
    dim = x.dim() - 3
    channels = ledger.channels(marks, dim, f"resampled together in {ledger.place}")
    ledger.record(out, Marks.broadcast(channels, dim, out.shape, clean_channels(marks, dim)))


def reduction(ledger: Ledger, call: Call) -> None:
    """Sums, means, extremes: over space they stay in a channel, over channels they mix them."""
    x, out = call.original[0], _first(call.out)
    marks = ledger.marks_of(x)
    assert marks is not None
    dims = call.argument("dim")
    dims = range(x.dim()) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    dims = sorted(d % x.dim() for d in dims)
    if any(ledger.varies(marks, d) for d in dims):
        if x.dim() == 4 and dims[0] >= 2:
            ledger.channels(marks, 1, f"pooled together in {ledger.place}")
        else:
            _freeze(ledger, x, f"mixed with others by {call.name} in {ledger.place}")
    labels = torch.as_tensor(ledger.sets.find(marks.nodes()), dtype=torch.float64)
    ledger.record(
        out,
        Marks(labels.amax(dims).reshape(out.shape), marks.clean.amin(dims).reshape(out.shape)),
    )


# -- helpers and the table --------------------------------------------------------------------


def _first(out: Any) -> Tensor:
    return out if isinstance(out, Tensor) else out[0]


def _freeze(ledger: Ledger, tensor: Tensor, why: str) -> None:
    marks = ledger.marks_of(tensor)
    assert marks is not None
    ledger.sets.freeze(marks.nodes(), why)


def _broadcast(tensor: Tensor, shape: torch.Size) -> Tensor:
    return tensor.expand(shape)


def unsupported(ledger: Ledger, call: Call) -> None:
    """Raise for an operation without a rule."""
    raise _unsupported(ledger, call, "an operation without a rule")


def _unsupported(ledger: Ledger, call: Call, what: str) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"Cannot follow channels through '{call.name}' in {ledger.place} ({what}); "
        "this network cannot be pruned unless that layer is written differently."
    )


def _table(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_POINTWISE = {"_prelu_kernel", "prelu", "where", "masked_fill"}
_SPECIAL: dict[str, Rule] = {
    **_table(convolution, "convolution _convolution conv2d"),
    **_table(linear, "linear addmm mm"),
    **_table(
        batch_norm,
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training",
    ),
    **_table(group_norm, "native_group_norm"),
    **_table(layer_norm, "native_layer_norm"),
    **_table(softmax, "_softmax _log_softmax"),
    **_table(glu, "glu"),
    **_table(same, "clone contiguous _to_copy detach alias lift_fresh"),
    **_table(like, "zeros_like ones_like full_like empty_like rand_like randn_like"),
    **_table(
        structural,
        "permute transpose t expand cat stack unsqueeze squeeze flip roll constant_pad_nd "
        "reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d repeat "
        "pixel_unshuffle im2col movedim",
    ),
    **_table(cut, "slice select narrow split unsafe_split split_with_sizes unbind"),
    **_table(view, "view _unsafe_view _reshape_alias reshape"),
    **_table(pixel_shuffle, "pixel_shuffle"),
    **_table(channel_shuffle, "channel_shuffle native_channel_shuffle"),
    **_table(
        per_channel,
        "avg_pool2d max_pool2d_with_indices _adaptive_avg_pool2d adaptive_avg_pool2d "
        "adaptive_max_pool2d upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d "
        "upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    ),
    **_table(reduction, "mean sum amax amin var std linalg_vector_norm"),
    **_table(unsupported, "copy bmm baddbmm matmul"),
}
