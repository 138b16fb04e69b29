"""One trace for all sizes: what a network does is compared at several, and must be the same.

A trace shows what the network's code does at one size. Code that branches on the size, or on how
many images a batch holds, can tie other channels elsewhere; then no set of groups is right for
every image, and nothing may be pruned. So the operations that the network calls are listed at many
sizes, which costs nothing as it is done without numbers (torch's meta device), and wherever the
list is a new one, the channels are followed there, too.

This is no proof for all sizes: a branch whose condition has one answer for all that was tried (more
than a megapixel; a height of exactly 200; three images at once) goes unnoticed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from srdeploy.models.module_path import ModulePath
from srdeploy.models.network import Network
from srdeploy.models.probes import (
    BATCH_SIZE,
    PROBE_SIZES,
    CannotRunError,
    Size,
    cannot_run,
    fit_size,
    photograph,
)
from srdeploy.models.watch import OperationWatch, name_of
from srdeploy.pruning.tracing.channel_labels import Axis, UnsupportedOperationError
from srdeploy.pruning.tracing.cut_numbers import CutNumbers, cut_numbers
from srdeploy.pruning.tracing.rules.shape_operations import CUT
from srdeploy.pruning.tracing.trace import Trace, trace

MORE_SIZES: tuple[Size, ...] = ((64, 48), (90, 110), (256, 256), (360, 640))
"""Where only operations are listed, beside :data:`srdeploy.models.probes.PROBE_SIZES`."""

_Calls = tuple[tuple[str, str, str], ...]
"""Layer, operation and numbers of every call. The numbers are those of elementwise operations and
of cuts through channels; others follow the size."""


def trace_everywhere(network: Network, cuts_in_code: bool = True) -> Trace:
    """Follow the channels of a network at every size where it does something else.

    Args:
        network: It.
        cuts_in_code: Whether cuts at numbers in its code are followed, if sizes then agree.

    Returns:
        The trace at the smallest size; at the others the same channels are tied and frozen.

    Raises:
        UnsupportedOperationError: the image's values may decide what code runs, or the sizes
            disagree: then the sentence names the layer and the two sizes.
        CannotRunError: the network runs on no size.
        UserError: it is no plain float32 module, or does not return one image.
    """
    watched = _Everywhere(network, cuts_in_code)
    try:
        return watched.all()
    except UnsupportedOperationError:
        if watched.first is None or not watched.first.cuts_in_code:
            raise
        return trace_everywhere(network, cuts_in_code=False)


class _Everywhere:
    """What was seen of a network so far.

    Attributes:
        first: The trace at the smallest size.
        failure: The first reason why a size did not work.
    """

    def __init__(self, network: Network, cuts_in_code: bool) -> None:
        self.first: Trace | None = None
        self.failure: CannotRunError | None = None
        self._network, self._cuts_in_code = network, cuts_in_code
        self._smallest: Size  # of the first trace
        self._seen: set[_Calls] = set()
        self._cut_numbers: CutNumbers | None = None
        self._list = _lister(network)

    def all(self) -> Trace:
        """See what the network does at all sizes; the trace at the smallest."""
        for size in PROBE_SIZES:
            self.look(size)
        if self.first is None:
            assert self.failure is not None
            raise self.failure
        for size in MORE_SIZES:
            self.look(size, listed_only=True)
        self.look_at_batch()
        return self.first

    def look(self, wanted: Size, listed_only: bool = False) -> None:
        """See what the network does near a size, and follow the channels if that is new.

        Args:
            wanted: Height and width.
            listed_only: Leave it out where operations cannot be listed without numbers, and where
                only numbers are new in a network that computes some from the size.
        """

        def attempt(size: Size) -> tuple[_Calls | None, Trace | None]:
            try:
                calls = self._list(1, size)
            except CannotRunError:
                if listed_only:
                    raise
                return None, self._trace(1, size)  # it may be the numbers that are missing
            return calls, None if self._known(calls, listed_only) else self._trace(1, size)

        try:
            size, (calls, traced) = fit_size(attempt, wanted, self._network.card.size_multiple)
        except CannotRunError as error:
            self.failure = self.failure or error
            return
        if traced is None:
            return
        if calls is not None:
            self._seen.add(calls)
        if self.first is None:
            self.first, self._smallest = traced, size
        where = f"on {_pixels(size)} than on {_pixels(self._smallest)}"
        _must_agree(self.first, traced, where)

    def look_at_batch(self) -> None:
        """The same for several images at once, where it takes them."""
        assert self.first is not None
        try:
            if self._known(self._list(BATCH_SIZE, self._smallest)):
                return
        except CannotRunError:
            pass
        try:
            traced = self._trace(BATCH_SIZE, self._smallest)
        except CannotRunError:  # it takes one image at a time
            return
        _must_agree(self.first, traced, f"on a batch of {BATCH_SIZE} images than on one")

    def _known(self, calls: _Calls, without_numbers: bool = False) -> bool:
        if without_numbers and len(self._seen) > 1:
            names = [call[:2] for call in calls]
            return any(names == [call[:2] for call in known] for known in self._seen)
        return calls in self._seen

    def _trace(self, batch: int, size: Size) -> Trace:
        x = torch.from_numpy(photograph(self._network.card, size, batch))
        module = self._network.module
        if self._cut_numbers is None:
            traced = trace(module, x, cuts_in_code=False)
            cut = any(why.startswith(CUT) for why in traced.sets.frozen().values())
            self._cut_numbers = cut_numbers(module, x) if cut else {}
            if not cut:
                self._cuts_in_code = False
                return traced
        return trace(module, x, self._cut_numbers, self._cuts_in_code)


def _lister(network: Network) -> Callable[[int, Size], _Calls]:
    """What lists the operations at a batch and size; CannotRunError where it cannot."""
    try:
        module = copy.deepcopy(network.module).to("meta").eval()
    except Exception as error:  # whatever the network is made of
        reason = error

        def nothing(batch: int, size: Size) -> _Calls:
            raise cannot_run((batch, network.card.channels, *size), ModulePath(), reason)

        return nothing

    def operations(batch: int, size: Size) -> _Calls:
        place = ModulePath()
        watch = _Watch(place)
        shape = (batch, network.card.channels, *size)
        try:
            with place.following(module), torch.no_grad(), torch.device("meta"), watch:
                module(torch.empty(shape))
        except Exception as error:  # whatever the network's own code raises
            raise cannot_run(shape, place, error) from error
        return tuple(watch.calls)

    return operations


class _Watch(OperationWatch):
    """Lists operations."""

    def __init__(self, place: ModulePath) -> None:
        super().__init__()
        self.calls: list[tuple[str, str, str]] = []
        self._place = place

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """List an operation, and run it."""
        name = name_of(func)
        cuts = name in ("slice", "select", "narrow", "split", "split_with_sizes", "index_select")
        numbers = [leaf for leaf in tree_leaves((args, kwargs)) if not isinstance(leaf, Tensor)]
        if cuts:
            follows_size = args[0].dim() != 4 or (args[1:2] or (0,))[0] != 1
        else:
            follows_size = torch.Tag.pointwise not in func.tags
        told = "" if follows_size else str(numbers)
        self.calls.append((str(self._place), name, told))
        return func(*args, **kwargs)


def _must_agree(first: Trace, other: Trace, where: str) -> None:
    axis = _first_difference(first, other)
    if axis is None:
        return
    what = f"Layer '{axis.layer}'"
    matcher = SequenceMatcher(None, first.events, other.events, autojunk=False)
    for tag, here, _, there, upto in matcher.get_opcodes():
        if tag != "equal":
            place, operation = other.events[there] if there < upto else first.events[here]
            what = f"{place[0].upper()}{place[1:]} ({operation})"
            break
    raise UnsupportedOperationError(
        f"{what} does something else {where}, so which channels can be removed depends on its "
        "input; this network cannot be pruned unless its code does the same for all."
    )


def _first_difference(first: Trace, other: Trace) -> Axis | None:
    """The first axis whose channels are tied, frozen or used otherwise."""
    a, b = _pattern(first), _pattern(other)
    return next((axis for axis in a | b if a.get(axis) != b.get(axis)), None)


def _pattern(traced: Trace) -> dict[Axis, list[tuple[int, bool]]]:
    """Per channel of every axis: the number of its set in order of appearance, if it is frozen."""
    frozen, numbers = traced.sets.frozen(), dict[int, int]()
    roots = {axis: traced.sets.find(traced.axes[axis]).tolist() for axis in sorted(traced.axes)}
    return {
        axis: [(numbers.setdefault(root, len(numbers)), root in frozen) for root in own]
        for axis, own in roots.items()
    }


def _pixels(size: Size) -> str:
    return f"{size[1]}x{size[0]} pixels"
