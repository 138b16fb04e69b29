"""Following every channel through a network, by running it.

The network runs once on a small image while each tensor operation is intercepted. Beside every
activation we keep a tensor of the same shape that says, element by element, which channel it
belongs to (its *label*), and whether it becomes zero when that channel is removed (it is
*clean*). Operations that only move elements (view, permute, concat, split, PixelShuffle...) are
applied to the labels themselves; elementwise operations join the labels that meet; convolutions
consume labels on their input axis and issue fresh ones on their output axis. What is joined must
live or die together. Nothing is derived from layer names, and because the network's own code
runs, control flow over sizes and functional calls need no special care.

A removed channel is exact to remove only if zeros reach its consumers; where something makes it
non-zero on the way (a sigmoid, an added constant), its channels are frozen, and the reason kept.
An operation whose effect on channels is unknown raises UnsupportedOperationError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.probes import cannot_run
from srdeploy.models.watch import CallWatch, OperationWatch, name_of, tensors_in
from srdeploy.prune.tracing.channel_labels import Axis, ChannelLabels, Labelling
from srdeploy.prune.tracing.rules.call import Call, unsupported
from srdeploy.prune.tracing.rules.table import READS_WEIGHT, rule_for
from srdeploy.prune.tracing.unionfind import Nodes, UnionFind


@dataclass(frozen=True)
class Trace:
    """Result of :func:`trace`.

    Attributes:
        axes: Every axis with its nodes, in the order of first use.
        sets: Which nodes are tied or frozen, and why.
        events: Layer and operation of everything that tied or froze, in order.
    """

    axes: dict[Axis, Nodes]
    sets: UnionFind
    events: list[tuple[str, str]]


def trace(module: nn.Module, example: Tensor) -> Trace:
    """Follow the channels of ``module`` while it upscales ``example`` (float32 [N, C, H, W]).

    What is found holds for code that does the same at every size; ``example`` shows one
    (:mod:`srdeploy.prune.tracing.everywhere` compares several).

    Raises:
        UnsupportedOperationError: naming the operation and the layer it happens in.
        CannotRunError: the module's own code fails on the example.
        UserError: it is no plain float32 module, or returns something else than one image.
    """
    _check_plain(module)
    example = example.clone()
    labelling = Labelling(module)
    nodes = labelling.sets.new(example.shape[1])
    labelling.sets.freeze(nodes, "it is the network's input")
    labelling.record(
        example, ChannelLabels.broadcast(nodes, 1, example.shape, torch.zeros(len(nodes)))
    )
    training = {layer: layer.training for layer in module.modules()}
    module.eval()
    try:
        with (
            labelling.place.following(module),
            torch.no_grad(),
            _ChunkWatch(labelling),
            _Watch(labelling),
        ):
            output = module(example)
    except SrdeployError:
        raise
    except Exception as error:  # whatever the network's own code raises
        raise cannot_run(example.shape, labelling.place, error) from error
    finally:
        for layer, mode in training.items():
            layer.training = mode
    if not isinstance(output, Tensor):
        raise UserError(
            f"The network returns a {type(output).__name__}, not an image; wrap it in a module "
            "that returns the one output to keep."
        )
    labelling.freeze(output, "it is the network's output")
    return Trace(labelling.axes, labelling.sets, labelling.events)


def _check_plain(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        kind = type(layer)
        if isinstance(layer, torch.jit.ScriptModule) or kind.__name__ == "OptimizedModule":
            what = f"Layer '{name}'" if name else "The network"
            raise UserError(
                f"{what} is compiled or scripted ({kind.__name__}); give the original module."
            )
    for name, tensor in module.named_parameters():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise UserError(
                f"'{name}' is of type {str(tensor.dtype).removeprefix('torch.')}; pruning works on "
                "float32 networks: convert it with .float() first."
            )


class _ChunkWatch(CallWatch):
    """Notes when a split comes from ``chunk``, whose sizes follow the number of channels."""

    def __init__(self, labelling: Labelling) -> None:
        super().__init__()
        self._ledger = labelling

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call; the labelling knows meanwhile if it is ``chunk``."""
        if func not in (torch.chunk, Tensor.chunk):
            return func(*args, **kwargs)
        self._ledger.in_chunk = True
        try:
            return func(*args, **kwargs)
        finally:
            self._ledger.in_chunk = False


class _Watch(OperationWatch):
    """Runs each operation, then the rule that says what it did to channels."""

    def __init__(self, labelling: Labelling) -> None:
        super().__init__()
        self._ledger = labelling

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation, and enter into the labelling what it did."""
        labelling = self._ledger
        name = name_of(func)
        written = [i for i, a in enumerate(func._schema.arguments) if _is_written(a)]
        in_place = written == [0]
        before = tree_map(_clone, args[:1]) + args[1:] if in_place else args
        out = func(*args, **kwargs)
        tensors = tensors_in((args, kwargs))
        if name in ("t", "transpose", "permute") and _is_swapped_parameter(labelling, args[0], out):
            labelling.record_transposed(out, args[0])
            return out
        plain = name.rstrip("_") if written else name
        call = Call(func, plain, before, kwargs, out, args, in_place)
        if plain in READS_WEIGHT or any(labelling.labels_of(t) is not None for t in tensors):
            if len(written) > in_place:
                raise unsupported(labelling, call, "a result written into a given tensor")
            self._follow(call, tensors)
        derived = bool(tensors) and all(labelling.is_stored(t) for t in tensors)
        for tensor in call.tensors_out():
            labelling.note(tensor)
            if derived:
                labelling.note_stored(tensor)
        return out

    def _follow(self, call: Call, given: list[Tensor]) -> None:
        labelling = self._ledger
        changes, clean = labelling.sets.changes, labelling.all_clean(given)
        rule_for(call)(labelling, call)
        if labelling.sets.changes > changes or (
            clean and not labelling.all_clean(call.tensors_out())
        ):
            labelling.events.append((str(labelling.place), call.name))


def _is_swapped_parameter(labelling: Labelling, before: Tensor, after: Tensor) -> bool:
    known = id(before) in labelling.names and before.dim() == 2
    return known and (after.shape, after.stride()) == (before.shape[::-1], before.stride()[::-1])


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _clone(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
