"""Convolutions and linear layers: they consume channels on one axis and issue fresh ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from srdeploy.prune.marks import Ledger, Marks
from srdeploy.prune.rules.call import Call, unsupported
from srdeploy.prune.unionfind import Nodes


def convolution(ledger: Ledger, call: Call) -> None:
    """Any convolution: reads channels on one axis of its weight, issues fresh ones on another."""
    x, weight = call.original[:2]
    transposed, groups = call.argument("transposed"), call.argument("groups")
    layer = _layer_name(ledger, call, weight)
    marks = ledger.marks_of(x)
    n_in = x.shape[1]
    if marks is None:
        read = np.zeros(n_in, dtype=np.int64)
    else:
        read = ledger.channels(marks, 1, f"side by side in one channel read by '{layer}'")
    out_dim, in_dim = (1, 0) if transposed else (0, 1)
    depthwise = groups == n_in and groups > 1
    if depthwise and (not transposed or weight.shape[1] == 1):
        issued = ledger.axis(weight, 0, "out")
        carried = read.repeat(len(issued) // n_in)
        ledger.tie(issued, carried, f"carried through the depthwise '{layer}'")
    else:
        if marks is not None:
            _must_be_clean(ledger, marks, read, 1, layer)
        own = ledger.axis(weight, in_dim, "in")
        out = ledger.axis(weight, out_dim, "out")
        tied = f"tied across the {groups} groups of '{layer}'" if groups > 1 else None
        if transposed:
            ledger.sets.join(own, read)
            tie_positions(ledger, own, groups, tied)
            issued = np.tile(out, groups)
        else:
            ledger.sets.join(np.tile(own, groups), read, tied)
            tie_positions(ledger, out, groups, tied)
            issued = out
        if groups > 1:
            tie_positions(ledger, read, groups, tied)
    _finish_layer(ledger, call, weight, call.argument("bias"), read, issued, dim=1)


def linear(ledger: Ledger, call: Call) -> None:
    """A linear layer, in the forms it takes below autograd: linear, addmm, mm."""
    if call.name == "linear":
        x, weight = call.original[:2]
        bias = call.argument("bias")
    else:
        bias = call.original[0] if call.name == "addmm" else None
        x, transposed = call.original[-2:] if call.name == "mm" else call.original[1:3]
        weight = ledger.weight_behind(transposed)
        if weight is None:
            raise unsupported(ledger, call, "a matrix product that is no linear layer")
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


def tie_positions(ledger: Ledger, nodes: Nodes, groups: int, why: str | None) -> None:
    """Tie index p of every group with index p of the first."""
    table = nodes.reshape(groups, -1)
    for row in table[1:]:
        ledger.tie(table[0], row, why)


def _layer_name(ledger: Ledger, call: Call, weight: Tensor) -> str:
    name = ledger.names.get(id(weight))
    if name is None:
        raise unsupported(ledger, call, "a weight that is computed, not stored")
    return name.rpartition(".")[0] or name


def _must_be_clean(ledger: Ledger, marks: Marks, read: Nodes, dim: int, layer: str) -> None:
    dirty = read[(marks.clean_channels(dim).numpy() == 0) & (read != 0)]
    ledger.sets.freeze(dirty, f"removed, it would not be zero where '{layer}' reads it")


def _finish_layer(
    ledger: Ledger, call: Call, weight: Tensor, bias: Any, read: Nodes, issued: Nodes, dim: int
) -> None:
    name = _layer_name(ledger, call, weight)
    if (bias_marks := ledger.marks_of(bias)) is not None:
        ledger.sets.join(ledger.channels(bias_marks, bias.dim() - 1), issued)
    elif bias is not None and bias.numel() > 1:
        ledger.sets.freeze(issued, f"the bias of '{name}' is computed or not stored in its file")
    if not weight.requires_grad:
        ledger.sets.freeze(issued, f"the weights of '{name}' are frozen")
        ledger.sets.freeze(read, f"'{name}', whose weights are frozen, reads it")
    ledger.record(call.out, Marks.broadcast(issued, dim, call.out.shape))
