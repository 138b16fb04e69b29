"""What a pickle turns into: plain data, whatever the file names.

Every value is a container, a scalar or one of the records below. Names stay names: a reader gives
the few that carry meaning for it (tensors, arrays) functions of its own, and never what the file
points at.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_LONGEST_KEY = 1000


class MalformedPickle(ValueError):
    """The byte stream is not a pickle this interpreter understands; the text says why."""


@dataclass(frozen=True)
class Global:
    """A name from the file, as data: nothing was imported or looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """An object the file describes, inert.

    Attributes:
        target: What would have been called.
        args: With what.
        state: The attributes it would have been given.
        items: The entries it would have been given.
        given: What ``__setstate__`` would have been called with last, as it is in the file.
    """

    target: object = field(repr=False)
    args: tuple[object, ...] = field(default=(), repr=False)
    state: dict[object, object] = field(default_factory=dict, repr=False)
    items: dict[object, object] = field(default_factory=dict, repr=False)
    given: object = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class OpaqueKey:
    """A dictionary key that is no plain scalar (hashing nested input could exhaust the stack)."""

    value: object


def plain_key(key: object) -> object:
    """A hashable key that is safe to hash: scalars and names as they are, the rest wrapped.

    Very long text is wrapped too: it names nothing, and one copy of it in each of many names would
    fill the memory.
    """
    if isinstance(key, str | bytes):
        return key if len(key) <= _LONGEST_KEY else OpaqueKey(key)
    if key is None or isinstance(key, int | float | Global):
        return key
    return OpaqueKey(key)


def naturals(value: object, what: str) -> tuple[int, ...]:
    """A shape or stride from the file: a few whole numbers from 0 that fit 63 bits.

    Raises:
        MalformedPickle: it is anything else; ``what`` is called so in the sentence.
    """
    damaged = MalformedPickle(f"it is damaged ({what} is not made of a few whole numbers)")
    if not isinstance(value, tuple | list) or len(value) > 64:
        raise damaged
    if any(type(n) is not int or not 0 <= n < 1 << 63 for n in value):
        raise damaged
    return tuple(value)
