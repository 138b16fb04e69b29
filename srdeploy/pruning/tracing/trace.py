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
What an operation reads whose effect on channels is unknown is frozen, too
(:mod:`srdeploy.pruning.tracing.rules.keeping`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.code_calls import is_reshape, sites
from srdeploy.models.code_numbers import Asked, fits, is_part_number, number_name
from srdeploy.models.probes import cannot_run, evaluating
from srdeploy.models.resize import own_numbers
from srdeploy.models.watch import CallWatch, OperationWatch, name_of, tensors_in
from srdeploy.pruning.tracing.channel_labels import Axis, ChannelLabels, Labelling, NotFollowedError
from srdeploy.pruning.tracing.cut_numbers import CutNumbers
from srdeploy.pruning.tracing.rules.call import Call, written_arguments
from srdeploy.pruning.tracing.rules.keeping import keep, keep_unfollowed_weights, must_not_store
from srdeploy.pruning.tracing.rules.products import PRODUCTS, factors
from srdeploy.pruning.tracing.rules.shape_operations import view
from srdeploy.pruning.tracing.rules.table import READS_WEIGHT, rule_for
from srdeploy.pruning.tracing.unionfind import Nodes, UnionFind


@dataclass(frozen=True)
class Trace:
    """Result of :func:`trace`.

    Attributes:
        axes: Every axis with its nodes, in the order of first use.
        sets: Which nodes are tied or frozen, and why.
        events: Layer and operation of everything that tied or froze, in order.
        not_followed: Operation, layer and reason of everything that no rule follows.
        counts: Numbers of the code that may be numbers of channels: sizes in its reshapes
            (:mod:`srdeploy.models.code_numbers`), and attributes of as many heads as there are.
            Such an axis has the role "count" and the name of a number of a part. Where one number
            is that of several tensors, as many go of each.
    """

    axes: dict[Axis, Nodes]
    sets: UnionFind
    events: list[tuple[str, str]]
    not_followed: list[tuple[str, str, str]]
    counts: dict[Axis, list[Nodes]] = field(default_factory=dict)

    @property
    def cuts_in_code(self) -> bool:
        """Whether there are cuts of which the compact network's code needs other numbers."""
        counts = (axis.tensor for axis in self.axes if axis.role == "count")
        return any(map(is_part_number, counts))


def trace(
    module: nn.Module,
    example: Tensor,
    cut_numbers: CutNumbers | None = None,
    cuts_in_code: bool = True,
) -> Trace:
    """Follow the channels of ``module`` while it upscales ``example`` (float32 [N, C, H, W]).

    Cuts at fixed positions are followed where they are known to be made by attributes
    (:mod:`srdeploy.pruning.tracing.cut_numbers`), and, unless ``cuts_in_code`` is false, where the
    compact network's code can be given other numbers (:mod:`srdeploy.pruning.tracing.cuts`).

    What is found holds for code that does the same at every size; ``example`` shows one
    (:mod:`srdeploy.pruning.tracing.everywhere` compares several).

    Raises:
        UnsupportedOperationError: the image's values may decide what code runs; the sentence names
            the operation and the layer it happens in.
        CannotRunError: the module's own code fails on the example.
        UserError: it is no plain float32 module, or returns something else than one image.
    """
    _check_plain(module)
    example = example.clone()
    labelling = Labelling(module, cut_numbers)
    nodes = labelling.sets.new(example.shape[1])
    labelling.sets.freeze(nodes, "it is the network's input")
    labelling.record(
        example, ChannelLabels.broadcast(nodes, 1, example.shape, torch.zeros(len(nodes)))
    )
    try:
        with (
            evaluating(module),
            labelling.place.following(module),
            torch.no_grad(),
            _CallWatch(labelling, cuts_in_code),
            _Watch(labelling),
        ):
            output = module(example)
    except SrdeployError:
        raise
    except Exception as error:  # whatever the network's own code raises
        raise cannot_run(example.shape, labelling.place, error) from error
    if not isinstance(output, Tensor):
        raise UserError(
            f"The network returns a {type(output).__name__}, not an image; wrap it in a module "
            "that returns the one output to keep."
        )
    labelling.use_mixed([output])
    labelling.freeze(output, "it is the network's output")
    sides = list(labelling.boxes.settle(labelling.sets))
    labelling.cuts.settle(labelling.sets, labelling.count)
    return Trace(
        labelling.axes,
        labelling.sets,
        labelling.events,
        list(labelling.not_followed),
        _counted(labelling) | _counted_by_attributes(labelling, module, sides),
    )


def _counted(labelling: Labelling) -> dict[Axis, list[Nodes]]:
    """Of all reshapes the sizes that become smaller with the number of channels."""
    settled = [
        (places, site, None if nodes is None else labelling.sets.find(nodes))
        for places, site, nodes in labelling.reshapes
    ]
    found: dict[Axis, list[Nodes]] = {}
    for places, site, nodes in settled:
        if nodes is None or not nodes.any():
            continue
        numbers = [n if own > 1 else None for n, own in zip(site.numbers, nodes.shape, strict=True)]
        if (nodes == nodes[:1]).all():
            numbers[0] = None  # three times as many as images, perhaps
        asked = Asked(site.kind, tuple(numbers))
        alike = [  # calls of the same part, and of layers inside it, that look the same
            other
            for inside, others, other in settled
            if places[-1] in inside and fits(asked, others)
        ]
        for dim in range(nodes.ndim):
            counted = [None if other is None else _along(other, dim) for other in alike]
            known = [channels for channels in counted if channels is not None]
            if len(known) == len(counted):
                others = [own for own in known[1:] if not np.array_equal(own, known[0])]
                axis = Axis(f"{places[-1]}.{number_name(asked, dim)}", 0, "count")
                found[axis] = [known[0], *others]
    return found


def _along(nodes: Nodes, dim: int) -> Nodes | None:
    """The channels along a dimension, where each of its places holds one that is no other's."""
    rows = np.moveaxis(nodes, dim, 0).reshape(nodes.shape[dim], -1)
    own = rows[:, 0]
    return own if (rows == own[:, None]).all() and own.all() and (own != own[0]).any() else None


def _counted_by_attributes(
    labelling: Labelling, module: nn.Module, sides: Iterable[tuple[str, Nodes]]
) -> dict[Axis, list[Nodes]]:
    """The one attribute of a part that is as large as a side of its reshapes, where it is one."""
    found: dict[Axis, list[Nodes]] = {}
    for part, recorded in sides:
        nodes = labelling.sets.find(recorded)
        own = own_numbers(module.get_submodule(part))
        names = [name for name, number in own.items() if number == len(nodes)]
        if len(names) == 1:
            axis = Axis(f"{part}.{names[0]}", 0, "count")
            if axis not in labelling.axes:
                found.setdefault(axis, [nodes])
    return found


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


class _CallWatch(CallWatch):
    """Follows products of activations, and notes what numbers reshapes and cuts ask for.

    The sizes of ``chunk`` follow the number of channels.
    """

    def __init__(self, labelling: Labelling, cuts_in_code: bool) -> None:
        super().__init__()
        self._ledger, self._cuts_in_code = labelling, cuts_in_code

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a call; the labelling knows meanwhile if it is ``chunk`` or a product."""
        name = name_of(func)
        if name in PRODUCTS:
            given = factors(name, args, kwargs)
            ours = all(map(self._ledger.is_labelled, given))  # of learned tokens, too
            if ours and any(map(self._ledger.is_from_image, given)) and "out" not in kwargs:
                return self._multiplied(name, func, args, kwargs)
        if func is F.multi_head_attention_forward:
            return self._kept(name, func, args, kwargs)
        if func in (torch.chunk, Tensor.chunk):
            self._ledger.in_chunk = True
            try:
                return func(*args, **kwargs)
            finally:
                self._ledger.in_chunk = False
        said = sites(func, args, kwargs)
        if said and is_reshape(said[0].kind):
            out = func(*args, **kwargs)
            labelled = self._ledger.labels_of(out) if self._ledger.is_from_image(out) else None
            nodes = None if labelled is None else labelled.nodes()
            site = said[0]._replace(numbers=tuple(out.shape))
            self._ledger.reshapes.append((self._ledger.place.names(), site, nodes))
            return out
        if not said or not self._cuts_in_code:
            return func(*args, **kwargs)
        self._ledger.cuts.calls(said, self._ledger.place.names())
        try:
            return func(*args, **kwargs)
        finally:
            self._ledger.cuts.calls((), ())

    def _kept(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        labelling = self._ledger
        out = self._unseen(func, args, kwargs)
        call = Call(torch.ops.aten.matmul.default, name, args, kwargs, out, args, in_place=False)
        for tensor in call.tensors_out():
            labelling.note(tensor)
        keep(labelling, call, "one function of torch projects, splits and weighs")
        return out

    def _unseen(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._ledger.in_product = True
        try:
            return func(*args, **kwargs)
        finally:
            self._ledger.in_product = False

    def _multiplied(self, name: str, func: Any, args: Any, kwargs: Any) -> Any:
        labelling = self._ledger
        out = self._unseen(func, args, kwargs)
        name = "matmul" if name == "bmm" else name
        call = Call(torch.ops.aten.matmul.default, name, args, kwargs, out, args, in_place=False)
        labelling.note(out)
        _follow(labelling, call, tensors_in((args, kwargs)))
        return out


class _Watch(OperationWatch):
    """Runs each operation, then the rule that says what it did to channels."""

    def __init__(self, labelling: Labelling) -> None:
        super().__init__()
        self._ledger = labelling

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation, and enter into the labelling what it did."""
        labelling = self._ledger
        if labelling.in_product:
            return func(*args, **kwargs)
        name = name_of(func)
        written = written_arguments(func)
        in_place = written == [0]
        tensors = tensors_in((args, kwargs))
        for tensor in tensors:
            labelling.note(tensor)
        before = tree_map(_clone, args[:1]) + args[1:] if in_place else args
        out = func(*args, **kwargs)
        sources = labelling.sources(tensors)
        if name in ("t", "transpose", "permute") and _is_swapped_parameter(labelling, args[0], out):
            labelling.record_transposed(out, args[0])
            labelling.note_stored(out, sources)
            return out
        plain = name.rstrip("_") if written else name
        call = Call(func, plain, before, kwargs, out, args, in_place)
        for tensor in call.tensors_out():
            labelling.note(tensor)
        touched = [other for t in call.written for other in labelling.sharing(t)]
        from_image = any(map(labelling.is_from_image, (*tensors, *touched)))
        if (
            plain in READS_WEIGHT
            or from_image
            or any(labelling.labels_of(t) is not None for t in tensors)
        ):
            _follow(labelling, call, tensors)
        if sources and not from_image:
            for tensor in (*call.tensors_out(), *touched):
                labelling.note_stored(tensor, sources)
        return out


def _follow(labelling: Labelling, call: Call, given: list[Tensor]) -> None:
    changes, clean = labelling.sets.changes, labelling.all_clean(given)
    must_not_store(labelling, call)
    try:
        _apply_rule(labelling, call, given)
    except NotFollowedError as why:
        keep(labelling, call, str(why))
    if labelling.sets.changes > changes or (clean and not labelling.all_clean(call.tensors_out())):
        labelling.events.append((str(labelling.place), call.name))


def _apply_rule(labelling: Labelling, call: Call, given: list[Tensor]) -> None:
    if rule_for(call) is not view:
        labelling.use_mixed(given)
    if call.written and not call.in_place:
        raise NotFollowedError("a result written into a given tensor")
    if call.name in READS_WEIGHT:
        rule_for(call)(labelling, call)
        return
    product = call.name in PRODUCTS
    followed = [t for t in given if product or labelling.is_from_image(t)]
    if followed and all(labelling.is_settled(t) for t in followed):
        keep(labelling, call, None)
        return
    rule_for(call)(labelling, call)
    keep_unfollowed_weights(labelling, call)


def _is_swapped_parameter(labelling: Labelling, before: Tensor, after: Tensor) -> bool:
    known = id(before) in labelling.names and before.dim() == 2
    return known and (after.shape, after.stride()) == (before.shape[::-1], before.stride()[::-1])


def _clone(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
