"""Which attributes of a network's modules say where its code cuts tensors: found by changing them.

Code like ``torch.split(x, (self.distilled, self.remaining), 1)`` names fixed positions. Where the
numbers are attributes, a pruned network can be given others. Whether they are is tried out: the
module runs once more with the attribute one higher, and the cut whose number is then one higher,
too, is made by it. Numbers in the code itself stay, and what is cut by them is not pruned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from srdeploy.models.module_path import ModulePath
from srdeploy.models.probes import evaluating
from srdeploy.models.resize import own_numbers, set_number
from srdeploy.models.watch import OperationWatch, name_of

CutKey = tuple[str, str, int, tuple[int, ...]]
"""Module, operation, dimension, and the numbers that the cut is called with."""


class Counted(NamedTuple):
    """A number of channels: an attribute, or a multiple of one."""

    attribute: str
    times: int = 1


LEFT = Counted("", 0)
"""A number that is the tensor's own less another of the cut's numbers, which is an attribute."""

CutNumbers = dict[CutKey, tuple[Counted | None, ...]]
"""For each number of a cut what it is, None for what is neither an attribute nor left."""


def cut_key(place: str, name: str, args: tuple[Any, ...]) -> CutKey | None:
    """The key of an operation that cuts; None for all others.

    Args:
        place: The module's name.
        name: Of the operation.
        args: Its positional arguments.
    """
    if (
        not args
        or not isinstance(args[0], Tensor)
        or not args[0].dim()
        or args[4:] not in ((), (1,))
    ):
        return None  # nothing to cut, or every other one
    numbers: list[Any]
    if name in ("split_with_sizes", "split"):
        first, *rest = args[1:]
        numbers = list(first) if isinstance(first, (list, tuple)) else [first]
        dim = rest[0] if rest else 0
    elif name == "slice":
        dim, *numbers = [*args[1:], *(0, None, None)[len(args) - 1 :]][:3]
        length = args[0].shape[dim]
        start, stop = numbers[0] or 0, length if numbers[1] is None else min(numbers[1], length)
        numbers = [start + length if start < 0 else start, stop + length if stop < 0 else stop]
    else:
        return None
    return place, name, dim % args[0].dim(), tuple(map(int, numbers))


def cut_numbers(module: nn.Module, example: Tensor) -> CutNumbers:
    """Find the attributes behind a network's cuts.

    Args:
        module: It is run on ``example`` and then part by part; its attributes are what they were
            afterwards.
        example: A small network input.

    Returns:
        An entry for every cut of which some number is an attribute of the module that makes it.
    """
    names = {id(part): name for name, part in module.named_modules()}
    given: dict[str, tuple[Any, Any]] = {}

    def keep(part: nn.Module, args: Any, kwargs: Any) -> None:
        given.setdefault(names[id(part)], tree_map(_copy, (args, kwargs)))

    found: CutNumbers = {}
    with evaluating(module):
        with ExitStack() as hooks:
            for part in module.modules():
                if own_numbers(part):
                    hooks.callback(part.register_forward_pre_hook(keep, with_kwargs=True).remove)
            makers = {key[0] for key, _ in _cuts(module, (example,), {}, None)}
        for name in given.keys() & makers:
            for key, attributes in _behind(module.get_submodule(name), *given[name]).items():
                _note(found, (name, *key[1:]), attributes)
    return {key: attributes for key, attributes in found.items() if any(attributes)}


def _note(found: CutNumbers, key: CutKey, attributes: tuple[Counted | None, ...]) -> None:
    """Enter what is behind a cut; two cuts with the same numbers and other attributes: nothing."""
    if found.setdefault(key, attributes) != attributes:
        found[key] = (None,) * len(attributes)


def _behind(part: nn.Module, args: Any, kwargs: Any) -> CutNumbers:
    """The same for the cuts that one module's own code makes."""
    before = _cuts(part, args, kwargs, ())
    attributes: list[list[Counted | None]] = [[None] * len(key[3]) for key, _ in before]
    own = own_numbers(part)
    if not any(number in own.values() for key, _ in before for number in key[3]):
        return {}
    spoilt: set[tuple[int, int]] = set()
    for attribute, value in own.items():
        set_number(part, attribute, value + 1)
        try:
            after = _cuts(part, args, kwargs, before)
        finally:
            set_number(part, attribute, value)
        for position, ((old, _), (new, _)) in enumerate(zip(before, after, strict=False)):
            if old[:3] != new[:3] or len(old[3]) != len(new[3]):
                break
            raised = value in old[3] and new[3][old[3].index(value)] == value + 1
            for i, (a, b) in enumerate(zip(old[3], new[3], strict=True)):
                times = b - a
                if times > 0 and a == times * value:
                    attributes[position][i] = Counted(attribute, times)
                elif raised and b == a - 1 and attributes[position][i] is None:
                    attributes[position][i] = LEFT
                elif a != b:
                    spoilt.add((position, i))
    found: CutNumbers = {}
    for position, (key, _) in enumerate(before):
        told = attributes[position]
        clear = (None if (position, i) in spoilt else one for i, one in enumerate(told))
        _note(found, key, tuple(clear))
    return found


_Cuts = Sequence[tuple[CutKey, tuple[Any, ...]]]
"""Keys, and what the operation was called with beside the tensor."""


def _cuts(module: nn.Module, args: Any, kwargs: Any, instead: _Cuts | None) -> _Cuts:
    """The cuts that a module makes until it ends or fails.

    Args:
        module: The network, or a part of it.
        args: Its arguments, and
        kwargs: those by name.
        instead: Of the module's own cuts alone: what they are called with, whatever its code says,
            as far as this goes, so that the code behind them still runs. None: all cuts are noted.
    """
    place = ModulePath()
    watch = _Watch(place, instead)
    with suppress(Exception), place.following(module), torch.no_grad(), watch:
        args, kwargs = tree_map(_copy, (args, kwargs))
        module(*args, **kwargs)
    return watch.found


class _Watch(OperationWatch):
    def __init__(self, place: ModulePath, instead: _Cuts | None) -> None:
        super().__init__()
        self.found: list[tuple[CutKey, tuple[Any, ...]]] = []
        self._place, self._instead = place, instead

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Note a cut before it runs: with other numbers it may fail."""
        key = cut_key(self._place.name, name_of(func), args)
        if key is None or (self._instead is not None and key[0]):
            return func(*args, **kwargs)
        told = args[1:]
        if self._instead and len(self.found) < len(self._instead):
            _, told = self._instead[len(self.found)]
        self.found.append((key, told))
        return func(args[0], *told, **kwargs)


def _copy(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


def pieces(key: CutKey, counted: tuple[Counted | None, ...]) -> Iterator[tuple[str, int, int]]:
    """Attribute, start and stop of channels that it counts; of a multiple, one piece after another.

    As many of each are pruned, so that the multiple stays one.
    """
    _, name, _, numbers = key
    start = 0
    for behind, number in zip(counted, numbers, strict=True):
        if behind is not None and behind.attribute:
            length = number // behind.times
            for piece in range(behind.times):
                first = start + piece * length
                yield behind.attribute, first, first + length
        if name != "slice":  # where one part ends, the next begins
            start += number
