"""Numbers of channels in a network's code that come from elsewhere: given others while it runs.

Code like ``y.reshape(b, n, 3, heads, c // heads)`` or ``y[..., : c // 2]``, where ``c`` is the
width of another tensor, cannot run with fewer channels of ``y``. In a pruned network such a part
runs with the numbers that fit: where its code, or that of a layer inside it, makes a call
(:mod:`srdeploy.models.code_calls`) that asks for the numbers that the unpruned network had, those
that are numbers of channels are replaced. A call that asks for others, as code does that takes its
numbers from the tensor itself, is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any, NamedTuple

from torch import nn
from torch.overrides import TorchFunctionMode

from srdeploy.models.code_calls import Site, call, is_reshape, sites

_NAME = re.compile(
    r"((?:reshape|(?:slice|narrow|split|split each) \d+ of \d+)(?: at \w+ \d+)?) "
    r"\(((?:-?\d+|\?)(?:, (?:-?\d+|\?))*)\)\[(\d+)\]"
)


class Asked(NamedTuple):
    """What a call asks for, by which it is recognised.

    Attributes:
        kind: Of the call; without a place, as cards have had it before, anywhere.
        numbers: None, in a reshape, for what is no number of channels, and for the ends of slices
            that are not said.
    """

    kind: str
    numbers: tuple[int | None, ...]


def number_name(asked: Asked, place: int) -> str:
    """The name of one of the numbers that a call asks for, among the numbers of a part."""
    told = ", ".join("?" if number is None else str(number) for number in asked.numbers)
    return f"{asked.kind} ({told})[{place}]"


def is_number_name(name: str) -> bool:
    """Whether it is one that :func:`number_name` gives."""
    return _NAME.fullmatch(name) is not None


def is_part_number(name: str) -> bool:
    """The same of a name that begins with its part: ``body.0.split 1 of 4 (3, 5)[0]``."""
    return _NAME.search(name) is not None


def fits(asked: Asked, site: Site) -> bool:
    """Whether a call is recognised (-1 stands for any size of a reshape)."""
    if not _of_kind(asked, site.kind) or len(asked.numbers) != len(site.numbers):
        return False
    pairs = zip(asked.numbers, site.numbers, strict=True)
    if is_reshape(asked.kind):
        return all(own is None or int(said) in (own, -1) for own, said in pairs)
    return all(own == _end(said) for own, said in pairs)


def _of_kind(asked: Asked, kind: str) -> bool:
    return kind == asked.kind or (" at " not in asked.kind and kind.split(" at ")[0] == asked.kind)


def of_cut(site: Site) -> Asked:
    """What a call asks for that cuts: all of its numbers."""
    return Asked(site.kind, tuple(map(_end, site.numbers)))


def _end(said: Any) -> int | None:
    """A number of a cut; a slice from the start on says none."""
    return None if said is None or (number := int(said)) == 0 else number


_Numbers = dict[Asked, dict[int, int]]


def set_code_numbers(part: nn.Module, numbers: Mapping[str, int]) -> None:
    """Let the code of a part run with other numbers; in place.

    Args:
        part: A network or a part of one. Where it has been given numbers before, those given now
            recognise what they give.
        numbers: By names of :func:`number_name`, at least 1; the end of a slice that counts from
            behind does so with its new number.
    """
    if not isinstance(part, _Renumbered):
        part.__class__ = _renumbered(type(part))
        part._code_numbers = {}  # type: ignore[assignment]
    more: _Numbers = {}
    for name, number in numbers.items():
        found = _NAME.fullmatch(name)
        assert found is not None
        kind, told, place = found.groups()
        asked = Asked(kind, tuple(None if n == "?" else int(n) for n in told.split(", ")))
        more.setdefault(asked, {})[int(place)] = number
    known: _Numbers = part._code_numbers  # type: ignore[assignment]
    before = list(known)
    for asked, given in known.items():
        now = Asked(asked.kind, tuple(_now(asked, given, i) for i in range(len(asked.numbers))))
        for other, later in more.items():
            if _may_be(other, now):
                given.update(later)
    for asked, given in more.items():
        if not any(_may_be(other, asked) for other in before):  # else no call still asks for it
            known[asked] = given


def _now(asked: Asked, given: Mapping[int, int], place: int) -> int | None:
    """What is asked for in the place of a number; it is counted from where the number was."""
    old = asked.numbers[place]
    if place not in given:
        return old
    return -given[place] if old is not None and old < 0 else given[place]


def _may_be(asked: Asked, other: Asked) -> bool:
    """Whether a call that asks for the one is recognised as the other, too."""
    if not _of_kind(asked, other.kind) or len(asked.numbers) != len(other.numbers):
        return False
    free = is_reshape(asked.kind)
    pairs = zip(asked.numbers, other.numbers, strict=True)
    return all(own == said or (free and own is None) for own, said in pairs)


def code_numbers(part: nn.Module) -> dict[str, int]:
    """By name, all numbers that a part's code has been given."""
    known: _Numbers = vars(part).get("_code_numbers", {})
    return {
        number_name(asked, place): number
        for asked, given in known.items()
        for place, number in given.items()
    }


class _Renumbered(nn.Module):
    """What the class of such a part is also derived from; a copy of the part is one, too."""


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {}


def _renumbered(kind: type[nn.Module]) -> type[nn.Module]:
    """The same class, whose ``forward`` runs with other numbers."""
    if kind in _CLASSES:
        return _CLASSES[kind]

    @wraps(kind.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        with _Mode(self._code_numbers):
            return kind.forward(self, *args, **kwargs)

    own = {"forward": forward, "__module__": kind.__module__, "__doc__": kind.__doc__}
    made = _CLASSES[kind] = type(kind.__name__, (kind, _Renumbered), own)
    return made


_replaced: ContextVar[bool] = ContextVar("replaced", default=False)


class _Mode(TorchFunctionMode):
    def __init__(self, numbers: _Numbers) -> None:
        super().__init__()
        self._numbers = numbers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        said = () if _replaced.get() else sites(func, args, kwargs)
        now = [self._given(site) for site in said]
        if all(a is b for a, b in zip(said, now, strict=True)):
            return func(*args, **kwargs)
        token = _replaced.set(True)  # parts around this one see the call next
        try:
            return call(func, args, kwargs, now)
        finally:
            _replaced.reset(token)

    def _given(self, site: Site) -> Site:
        numbers = list(site.numbers)
        for asked, given in self._numbers.items():
            if not fits(asked, site):
                continue
            for place in given:
                if not (is_reshape(asked.kind) and int(numbers[place]) == -1):
                    numbers[place] = _now(asked, given, place)
        return site if numbers == list(site.numbers) else site._replace(numbers=tuple(numbers))
