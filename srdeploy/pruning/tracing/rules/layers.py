"""Convolutions and linear layers: they consume channels on one axis and issue fresh ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from srdeploy.pruning.tracing.channel_labels import ChannelLabels, Labelling, NotFollowedError
from srdeploy.pruning.tracing.rules.call import Call
from srdeploy.pruning.tracing.unionfind import Nodes


def convolution(labelling: Labelling, call: Call) -> None:
    """Any convolution: reads channels on one axis of its weight, issues fresh ones on another."""
    x, weight = call.original[:2]
    transposed, groups = call.argument("transposed"), call.argument("groups")
    layer = _layer_name(labelling, call, weight)
    labelled = labelling.labels_of(x)
    n_in = x.shape[1]
    if labelled is None:
        read = np.zeros(n_in, dtype=np.int64)
    else:
        read = labelling.channels(labelled, 1, f"side by side in one channel read by '{layer}'")
    out_dim, in_dim = (1, 0) if transposed else (0, 1)
    depthwise = groups == n_in and groups > 1
    if depthwise and (not transposed or weight.shape[1] == 1):
        issued = labelling.axis(weight, 0, "out")
        carried = read.repeat(len(issued) // n_in)
        labelling.tie(issued, carried, f"carried through the depthwise '{layer}'")
    else:
        if labelled is not None:
            _must_be_clean(labelling, labelled, read, 1, layer)
        own = labelling.axis(weight, in_dim, "in")
        out = labelling.axis(weight, out_dim, "out")
        tied = f"tied across the {groups} groups of '{layer}'" if groups > 1 else None
        if transposed:
            labelling.sets.join(own, read)
            tie_positions(labelling, own, groups, tied)
            issued = np.tile(out, groups)
        else:
            labelling.sets.join(np.tile(own, groups), read, tied)
            tie_positions(labelling, out, groups, tied)
            issued = out
        if groups > 1:
            tie_positions(labelling, read, groups, tied)
    _finish_layer(labelling, call, weight, call.argument("bias"), read, issued, dim=1)


def linear(labelling: Labelling, call: Call) -> None:
    """A linear layer, in the forms it takes below autograd: linear, addmm, mm."""
    if call.name == "linear":
        x, weight = call.original[:2]
        bias = call.argument("bias")
    else:
        bias = call.original[0] if call.name == "addmm" else None
        x, transposed = call.original[-2:] if call.name == "mm" else call.original[1:3]
        weight = labelling.weight_behind(transposed)
        if weight is None:
            raise NotFollowedError("a matrix product that is no linear layer")
    layer = _layer_name(labelling, call, weight)
    labelled = labelling.labels_of(x)
    dim = x.dim() - 1
    read = np.zeros(x.shape[-1], dtype=np.int64)
    if labelled is not None:
        read = labelling.channels(labelled, dim)
        _must_be_clean(labelling, labelled, read, dim, layer)
    labelling.sets.join(labelling.axis(weight, 1, "in"), read)
    issued = labelling.axis(weight, 0, "out")
    _finish_layer(labelling, call, weight, bias, read, issued, dim=call.out.dim() - 1)


def tie_positions(labelling: Labelling, nodes: Nodes, groups: int, why: str | None) -> None:
    """Tie index p of every group with index p of the first."""
    table = nodes.reshape(groups, -1)
    for row in table[1:]:
        labelling.tie(table[0], row, why)


def _layer_name(labelling: Labelling, call: Call, weight: Tensor) -> str:
    name = labelling.names.get(id(weight))
    if name is None:
        raise NotFollowedError("a weight that is computed, not stored")
    return name.rpartition(".")[0] or name


def _must_be_clean(
    labelling: Labelling, labelled: ChannelLabels, read: Nodes, dim: int, layer: str
) -> None:
    dirty = read[(labelled.clean_channels(dim).numpy() == 0) & (read != 0)]
    labelling.sets.freeze(dirty, f"removed, it would not be zero where '{layer}' reads it")


def _finish_layer(
    labelling: Labelling,
    call: Call,
    weight: Tensor,
    bias: Any,
    read: Nodes,
    issued: Nodes,
    dim: int,
) -> None:
    name = _layer_name(labelling, call, weight)
    if (bias_marks := labelling.labels_of(bias)) is not None:
        labelling.sets.join(labelling.channels(bias_marks, bias.dim() - 1), issued)
    elif bias is not None and bias.numel() > 1:
        labelling.sets.freeze(issued, f"the bias of '{name}' is computed or not stored in its file")
    if not weight.requires_grad:
        labelling.sets.freeze(issued, f"the weights of '{name}' are frozen")
        labelling.sets.freeze(read, f"'{name}', whose weights are frozen, reads it")
    labelling.record(call.out, ChannelLabels.broadcast(issued, dim, call.out.shape))
