"""Normalisation and softmax: per channel they carry channels along, across they mix them."""

from __future__ import annotations

import torch
from torch import Tensor

from srdeploy.prune.marks import Ledger, Marks
from srdeploy.prune.rules.call import Call, marks_of_first


def batch_norm(ledger: Ledger, call: Call) -> None:
    """Per-channel normalisation: its numbers go with the channel."""
    x, *numbers = call.original[:5]
    _normalise(ledger, call, x, [n for n in numbers if isinstance(n, Tensor)])


def group_norm(ledger: Ledger, call: Call) -> None:
    """Per-channel only when each group is one channel; otherwise channels see each other."""
    x, weight, bias = call.original[:3]
    if call.argument("group") != x.shape[1]:
        ledger.freeze(x, f"normalised together with others by GroupNorm in {ledger.place}")
    elif weight is None:  # nothing tells a rebuilt layer its number of groups
        ledger.freeze(x, f"normalised by a GroupNorm without weights in {ledger.place}")
    _normalise(ledger, call, x, [n for n in (weight, bias) if isinstance(n, Tensor)])


def layer_norm(ledger: Ledger, call: Call) -> None:
    """Normalisation over trailing dimensions: over channels it mixes them."""
    x, shape = call.original[:2]
    marks = marks_of_first(ledger, call)
    if any(ledger.varies(marks, dim) for dim in range(x.dim() - len(shape), x.dim())):
        ledger.freeze(x, f"normalised together with others by LayerNorm in {ledger.place}")
    ledger.record(call.out[0], Marks(marks.labels, torch.zeros_like(marks.clean), marks.shape))


def softmax(ledger: Ledger, call: Call) -> None:
    """Over channels it mixes them; over space it turns zeros into something else."""
    marks = marks_of_first(ledger, call)
    if ledger.varies(marks, call.argument("dim") % call.out.dim()):
        ledger.freeze(call.original[0], f"weighed against others by softmax in {ledger.place}")
    ledger.record(call.out, Marks(marks.labels, torch.zeros_like(marks.clean), marks.shape))


def _normalise(ledger: Ledger, call: Call, x: Tensor, numbers: list[Tensor]) -> None:
    marks = marks_of_first(ledger, call)
    channels = ledger.channels(marks, 1)
    affine = False
    for number in numbers:
        own = ledger.marks_of(number)
        if own is None:
            if number.numel() > 1:
                ledger.sets.freeze(channels, f"normalised by fixed numbers in {ledger.place}")
            continue
        affine |= number is call.original[1]
        ledger.tie(ledger.channels(own, 0), channels)
    # A removed channel has its weight and bias zeroed too, which makes it zero whatever came in.
    clean = torch.ones_like(marks.clean) if affine else marks.clean
    ledger.record(call.tensors_out()[0], Marks(marks.labels, clean, marks.shape))
