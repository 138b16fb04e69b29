"""Following every channel through a network, by running it.

The network runs once on a small image while each tensor operation is intercepted. Beside every
activation we keep a tensor of the same shape that says, element by element, which channel it
belongs to (its *label*), and whether it becomes zero when that channel is removed (it is
*clean*). Operations that only move elements (view, permute, concat, split, PixelShuffle...) are
applied to the labels themselves; elementwise operations join the labels that meet; convolutions
consume labels on their input axis and issue fresh ones on their output axis. What is joined must
live or die together. Nothing is derived from layer names, and because the network's own code
runs, control flow and functional calls need no special care.

A removed channel is exact to remove only if zeros reach its consumers; where something makes it
non-zero on the way (a sigmoid, an added constant), its channels are frozen, and the reason kept.
An operation whose effect on channels is unknown raises UnsupportedOperationError.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from srdeploy.prune.marks import Axis, Ledger, Marks
from srdeploy.prune.rules import Call, rule_for, unsupported
from srdeploy.prune.unionfind import Nodes, UnionFind


@dataclass(frozen=True)
class Trace:
    """Result of :func:`trace`: axes with their nodes, and which nodes are tied."""

    axes: dict[Axis, Nodes]
    sets: UnionFind


def trace(module: nn.Module, example: Tensor) -> Trace:
    """Follow the channels of ``module`` while it upscales ``example`` (float32 [1, C, H, W]).

    Raises:
        UnsupportedOperationError: naming the operation and the layer it happens in.
    """
    ledger = Ledger(module)
    nodes = ledger.sets.new(example.shape[1])
    ledger.sets.freeze(nodes, "it is the network's input")
    unclean = torch.zeros(len(nodes))
    ledger.record(example, Marks.broadcast(nodes, 1, example.shape, unclean))
    training = module.training
    module.eval()
    try:
        with _following(module, ledger), torch.no_grad(), _ChunkWatch(ledger), _Watch(ledger):
            output = module(example)
    finally:
        module.train(training)
    for tensor in tree_leaves(output):
        if (marks := ledger.marks_of(tensor)) is not None:
            ledger.sets.freeze(marks.nodes(), "it is the network's output")
    return Trace(ledger.axes, ledger.sets)


@contextmanager
def _following(module: nn.Module, ledger: Ledger) -> Iterator[None]:
    """Keep the ledger's stack of running layers."""
    handles = []
    for name, layer in module.named_modules():
        handles += [
            layer.register_forward_pre_hook(lambda *_, name=name: ledger.stack.append(name)),
            layer.register_forward_hook(lambda *_: _leave(ledger)),
        ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _leave(ledger: Ledger) -> None:
    # A forward hook that returned anything but None would replace the layer's output.
    ledger.stack.pop()


class _ChunkWatch(TorchFunctionMode):
    """Notes when a split comes from ``chunk``, whose sizes follow the number of channels."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.chunk, Tensor.chunk):
            self._ledger.in_chunk = True
        try:
            return func(*args, **(kwargs or {}))
        finally:
            if func in (torch.chunk, Tensor.chunk):
                self._ledger.in_chunk = False


class _Watch(TorchDispatchMode):
    """Runs each operation, then the rule that says what it did to channels."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        ledger = self._ledger
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        changes_first = func._schema.is_mutable
        before = tree_map(_clone, args[:1]) + args[1:] if changes_first else args
        out = func(*args, **kwargs)
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if len(tensors) == 1 and id(tensors[0]) in ledger.names and tensors[0].dim() == 2:
            if name in ("t", "transpose", "permute") and out.shape == tensors[0].shape[::-1]:
                ledger.record_transposed(out, tensors[0])
                return out
        plain = name.rstrip("_") if changes_first else name
        call = Call(func, plain, before, kwargs, out, args)
        reads_weight = plain in ("convolution", "addmm", "mm", "linear")
        if reads_weight or any(ledger.marks_of(t) is not None for t in tensors):
            (rule_for(call) or unsupported)(ledger, call)
        return out


def _clone(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
