"""What parts of a network add to their input, found by noting every operation of one run.

From a part's output one goes back through additions. Where one of two summands leads to the part's
own input, the other is a body that is added to the stream it came from. Nothing is derived from
names or classes; the network's own code decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from srdeploy.models.probes import run
from srdeploy.models.resize import layer_widths
from srdeploy.models.watch import OperationWatch, name_of, tensors_in

_ADDS = {"add", "add_", "sub", "sub_", "addcmul", "addcmul_"}
_SAME = {"clone", "detach", "alias", "contiguous", "_to_copy", "view", "_unsafe_view"}
"""Operations whose result is what they read, where the shape is the same."""


@dataclass(frozen=True)
class PartCall:
    """One run of a part that reads one tensor and makes one.

    Attributes:
        part: Its name.
        first: Number of its first operation,
        end: and one more than that of its last.
        given: Number of the operation that made its input; -1: none in this run.
        made: Number of the one that made its output.
        args: What it was called with, positional,
        kwargs: and by name.
    """

    part: str
    first: int
    end: int
    given: int
    made: int
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Sum:
    """An addition of a body to a stream.

    Attributes:
        number: Of the operation.
        stream: Number of the operation that made what it is added to.
        body: Number of the one that made the body.
        body_is_zero: Whether nothing but zeros was added.
    """

    number: int
    stream: int
    body: int
    body_is_zero: bool


@dataclass(frozen=True)
class _Operation:
    """What ran: its name, what made the tensors that it read, and their shapes.

    ``zeros`` says of an addition which of them were zero; ``scaled`` that it has a factor.
    """

    name: str
    reads: tuple[int, ...]
    shapes: tuple[torch.Size, ...]
    shape: torch.Size
    zeros: tuple[bool, ...]
    scaled: bool


@dataclass
class Record:
    """What one run of a network did.

    Attributes:
        operations: In order.
        calls: The runs of each part that reads one tensor and makes one.
    """

    operations: list[_Operation] = field(default_factory=list)
    calls: dict[str, list[PartCall]] = field(default_factory=dict)

    def layers(self, module: nn.Module) -> list[str]:
        """Convolutions and linear layers, in the order in which they first ran."""
        ran = [(self.calls[n][0].first, n) for n in layer_widths(module) if n in self.calls]
        return [name for _, name in sorted(ran)]

    def sums(self, call: PartCall) -> list[Sum]:
        """The additions that lie between a part's input and its output, and nothing else does.

        Empty where other operations do.
        """
        known: dict[int, list[Sum] | None] = {}
        waiting = [call.made] if call.given >= 0 else []
        while waiting:  # a row of hundreds of blocks is deeper than Python's own stack
            number = waiting[-1]
            steps = list(self._back(number, call))
            if missing := [one for one, _ in steps if one not in known]:
                waiting += missing
                continue
            paths = ((known[stream], added) for stream, added in steps)
            known[number] = next(
                ([*path, *added] for path, added in paths if path is not None),
                [] if number == call.given else None,
            )
            waiting.pop()
        return known.get(call.made) or []

    def _back(self, number: int, call: PartCall) -> Iterator[tuple[int, list[Sum]]]:
        """What a result inside a part may be the same as, or the sum of that and a body."""
        if number < call.first or number == call.given:
            return
        one = self.operations[number]
        same = [r for r, shape in zip(one.reads, one.shapes, strict=True) if shape == one.shape]
        if one.name in _SAME and len(same) == 1:
            yield same[0], []
        for found in self.sums_of(number):
            yield found.stream, [found]

    def sums_of(self, number: int) -> Iterator[Sum]:
        """An operation as the sum of a stream and a body, in each way that it may be one."""
        one = self.operations[number]
        if one.name not in _ADDS or len(one.reads) < 2 or one.shapes[0] != one.shape:
            return
        yield Sum(number, one.reads[0], one.reads[-1], one.zeros[-1])
        if one.name in ("add", "add_") and not one.scaled and one.shapes[1] == one.shape:
            yield Sum(number, one.reads[1], one.reads[0], one.zeros[0])

    def behind(self, number: int, without: tuple[int, int] | None = None) -> set[int]:
        """All operations that a result rests on, itself included.

        Args:
            number: Of the operation that made it.
            without: An operation and one that it reads, which is not followed from there.
        """
        found: set[int] = set()
        waiting = [number]
        while waiting:
            one = waiting.pop()
            if one < 0 or one in found:
                continue
            found.add(one)
            cut = without[1] if without and without[0] == one else None
            waiting += [read for read in self.operations[one].reads if read != cut]
        return found


def record(module: nn.Module, x: Tensor) -> Record:
    """Run a network and note what it does.

    Args:
        module: In evaluation mode.
        x: Its input.

    Raises:
        CannotRunError: its code fails.
    """
    return _recorded(module, lambda: run(module, x))


def record_call(part: nn.Module, call: PartCall) -> Record:
    """Run a part by itself as it was called, and note what it does; its own name is empty."""

    def again() -> None:
        args, kwargs = tree_map(_clone, (call.args, dict(call.kwargs)))
        with torch.no_grad():
            part(*args, **kwargs)

    return _recorded(part, again)


def _recorded(module: nn.Module, runs: Callable[[], object]) -> Record:
    seen = Record()
    watch = _Watch(seen)
    with ExitStack() as hooks:
        for name, part in module.named_modules():

            def begin(_: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
                given = tensors_in((args, kwargs))
                if len(given) != 1:
                    watch.open.append(None)
                    return
                made = watch.made(given[0])
                copied = tree_map(_clone, (args, kwargs))
                watch.open.append(PartCall(name, len(seen.operations), -1, made, -1, *copied))

            def end(_: nn.Module, args: Any, output: Any) -> None:
                call = watch.open.pop()
                if call is not None and isinstance(output, Tensor):
                    made = watch.made(output)
                    whole = replace(call, end=len(seen.operations), made=made)
                    seen.calls.setdefault(call.part, []).append(whole)

            hooks.callback(part.register_forward_pre_hook(begin, with_kwargs=True).remove)
            hooks.callback(part.register_forward_hook(end).remove)
        with watch:
            runs()
    return seen


def _clone(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf


class _Watch(OperationWatch):
    """Notes operations; a tensor is known by its identity while the run lasts."""

    def __init__(self, seen: Record) -> None:
        super().__init__()
        self.open: list[PartCall | None] = []
        self._seen = seen
        self._made: dict[int, int] = {}
        self._alive: list[Tensor] = []

    def made(self, tensor: Tensor) -> int:
        """The number of the operation that made a tensor; -1: none in this run."""
        return self._made.get(id(tensor), -1)

    def called(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation and note it."""
        name, given = name_of(func), tensors_in((args, kwargs))
        reads, shapes = tuple(map(self.made, given)), tuple(t.shape for t in given)
        zeros = tuple(not bool(t.any()) for t in given) if name in _ADDS else ()
        out = func(*args, **kwargs)
        if made := tensors_in(out):
            number, scaled = len(self._seen.operations), kwargs.get("alpha", 1) != 1
            one = _Operation(name, reads, shapes, made[0].shape, zeros, scaled)
            self._seen.operations.append(one)
            self._alive += made
            self._made |= {id(tensor): number for tensor in made}
        return out
