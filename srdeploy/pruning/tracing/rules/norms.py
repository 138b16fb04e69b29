"""Normalisation and softmax: per channel they carry channels along, across they mix them."""

from __future__ import annotations

import torch
from torch import Tensor

from srdeploy.pruning.tracing.channel_labels import ChannelLabels, Labelling
from srdeploy.pruning.tracing.rules.call import Call, labels_of_first


def batch_norm(labelling: Labelling, call: Call) -> None:
    """Per-channel normalisation: its numbers go with the channel."""
    x, *numbers = call.original[:5]
    _normalise(labelling, call, x, [n for n in numbers if isinstance(n, Tensor)])


def group_norm(labelling: Labelling, call: Call) -> None:
    """Channels of a group see each other: a group goes as a whole, but the only one stays."""
    x, weight, bias = call.original[:3]
    groups = call.argument("group")
    why = f"normalised together with others by GroupNorm in {labelling.place}"
    if groups == 1 < x.shape[1]:
        labelling.freeze(x, why)
    elif weight is None:  # nothing tells a rebuilt layer its number of groups
        labelling.freeze(x, f"normalised by a GroupNorm without weights in {labelling.place}")
    elif groups < x.shape[1]:
        table = labelling.channels(labels_of_first(labelling, call), 1).reshape(groups, -1)
        labelling.tie(table[:, :1], table, why)
    _normalise(labelling, call, x, [n for n in (weight, bias) if isinstance(n, Tensor)])


def layer_norm(labelling: Labelling, call: Call) -> None:
    """Normalisation over trailing dimensions: over channels it mixes them."""
    x, shape = call.original[:2]
    labelled = labels_of_first(labelling, call)
    if any(labelling.varies(labelled, dim) for dim in range(x.dim() - len(shape), x.dim())):
        labelling.freeze(x, f"normalised together with others by LayerNorm in {labelling.place}")
    labelling.record(
        call.out[0],
        ChannelLabels(labelled.labels, torch.zeros_like(labelled.clean), labelled.shape),
    )


def softmax(labelling: Labelling, call: Call) -> None:
    """Over channels it mixes them; over space it turns zeros into something else."""
    labelled = labels_of_first(labelling, call)
    if labelling.varies(labelled, call.argument("dim") % call.out.dim()):
        labelling.freeze(
            call.original[0], f"weighed against others by softmax in {labelling.place}"
        )
    labelling.record(
        call.out, ChannelLabels(labelled.labels, torch.zeros_like(labelled.clean), labelled.shape)
    )


def _normalise(labelling: Labelling, call: Call, x: Tensor, numbers: list[Tensor]) -> None:
    labelled = labels_of_first(labelling, call)
    channels = labelling.channels(labelled, 1)
    affine = False
    for number in numbers:
        own = labelling.labels_of(number)
        if own is None:
            if number.numel() > 1:
                labelling.sets.freeze(channels, f"normalised by fixed numbers in {labelling.place}")
            continue
        affine |= number is call.original[1]
        labelling.tie(labelling.channels(own, 0), channels)
    # A removed channel has its weight and bias zeroed too, which makes it zero whatever came in.
    clean = torch.where(labelled.labels != 0, 1.0, labelled.clean) if affine else labelled.clean
    labelling.record(
        call.tensors_out()[0], ChannelLabels.of(labelled.labels, clean, labelled.shape)
    )
