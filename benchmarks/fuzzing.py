"""Damaged and hostile copies of a file, the same for the same seed, of any format.

``mutations(data, seed)`` never ends; take what is needed::

    for kind, copy in itertools.islice(mutations(data, seed=0), 2000):
        path.write_bytes(copy)

The kinds, in turn: a flipped bit, a run of random bytes, the file cut short, a slice doubled, a
slice left out, a slice put elsewhere, a length field replaced by an interesting number, a number in
text (JSON, protobuf text, a header) replaced by one. Now and then a copy equals the original
(what was written was there already).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
INTEGERS = (*_EDGES, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
"""Numbers at which signs, lengths and products turn over."""

TEXTS = (
    *(b"0", b"-1", b"1e400", b"-0.5", b"NaN", b"Infinity", b"true", b"null", b"1000000000"),
    *(b"18446744073709551616", b"9" * 400, b"[" * 200, b'"\\ud800"', b"\xff\xfe"),
)
"""What may stand where a text holds a number, and should not."""

_NUMBER = re.compile(rb"\d+(?:\.\d+)?")
_HEAD = 4096
"""Bytes at both ends that hold most formats' headers: half of all changes are made there."""

_SLICE = 512
"""Longest slice that is moved or doubled, in bytes."""


def mutations(data: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Endless (kind, copy) pairs.

    Args:
        data: The file, not empty.
        seed: Two iterators with one seed yield the same.
    """
    draw = random.Random(seed)
    while True:
        for kind, change in KINDS.items():
            yield kind, change(data, draw)


def bit_flip(data: bytes, draw: random.Random) -> bytes:
    """One bit, anywhere in the file with equal chance."""
    place = draw.randrange(len(data))
    return _replaced(data, place, bytes([data[place] ^ 1 << draw.randrange(8)]))


def noise(data: bytes, draw: random.Random) -> bytes:
    """1 to 16 random bytes in place of as many."""
    return _replaced(data, _place(data, draw), draw.randbytes(draw.randint(1, 16)))


def truncation(data: bytes, draw: random.Random) -> bytes:
    """The first part of the file, from none of it to all but one byte."""
    return data[: draw.randrange(len(data))]


def doubled(data: bytes, draw: random.Random) -> bytes:
    """A slice twice (or up to 64 times) in a row."""
    start, stop = _slice(data, draw)
    return data[:stop] + data[start:stop] * draw.choice((1, 1, 3, 63)) + data[stop:]


def left_out(data: bytes, draw: random.Random) -> bytes:
    """A slice missing."""
    start, stop = _slice(data, draw)
    return data[:start] + data[stop:]


def moved(data: bytes, draw: random.Random) -> bytes:
    """A slice over another place of the same length."""
    start, stop = _slice(data, draw)
    return _replaced(data, _place(data, draw), data[start:stop])


def length_field(data: bytes, draw: random.Random) -> bytes:
    """An interesting number, or one near what is there, of 1, 2, 4 or 8 bytes, either order."""
    width, place = draw.choice((1, 2, 4, 8)), _place(data, draw)
    order = draw.choice(("little", "little", "big"))
    there = int.from_bytes(data[place : place + width], order)
    number = draw.choice((*INTEGERS, there + 1, there - 1, there * 2)) % (1 << 8 * width)
    return _replaced(data, place, number.to_bytes(width, order))


def number_in_text(data: bytes, draw: random.Random) -> bytes:
    """A decimal number in the file's text replaced; a file without any gets noise."""
    tail = max(len(data) - _HEAD, _HEAD)
    found = [*_NUMBER.finditer(data, 0, _HEAD), *_NUMBER.finditer(data, tail)]
    if not found:
        return noise(data, draw)
    start, stop = draw.choice(found).span()
    return data[:start] + draw.choice(TEXTS) + data[stop:]


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bit flip": bit_flip,
    "noise": noise,
    "truncation": truncation,
    "slice doubled": doubled,
    "slice left out": left_out,
    "slice moved": moved,
    "length field": length_field,
    "number in text": number_in_text,
}


def _replaced(data: bytes, place: int, new: bytes) -> bytes:
    """``data`` with ``new`` over what lies at ``place``; never longer than it was."""
    return (data[:place] + new + data[place + len(new) :])[: len(data)]


def _place(data: bytes, draw: random.Random) -> int:
    if draw.random() < 0.5:
        near = draw.randrange(min(_HEAD, len(data)))
        return near if draw.random() < 0.5 else len(data) - 1 - near
    return draw.randrange(len(data))


def _slice(data: bytes, draw: random.Random) -> tuple[int, int]:
    start = _place(data, draw)
    return start, min(start + draw.randint(1, _SLICE), len(data))
