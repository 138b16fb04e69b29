"""What a device says, read with suspicion: bounded in size and depth, numbers that can be.

Whatever is wrong with an answer is a :class:`Implausible` of that device: one sentence that names
it. Other devices, and other artifacts, go on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.errors import DeviceError

MOST_MS = 86_400_000.0
"""Milliseconds that a run, a build or a load may take: a day."""

LEAST_MS = 1e-4
"""Milliseconds that a run takes at least, on the mean of a turn: no network is quicker."""

MOST_SAMPLES = 1_000_000
"""Samples in one turn."""

MOST_READINGS = 1_000_000
"""Readings of sensors in one measurement."""

MOST_MB = 1e8
"""Memory of a run."""

_MOST_TEXT, _MOST_ITEMS, _MOST_DEPTH = 4096, 4096, 8
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class Implausible(DeviceError):
    """A device said what cannot be."""


@contextmanager
def reading(device: str) -> Iterator[None]:
    """Around code that takes a device's answer apart: what it stumbles over is the device's error.

    Raises:
        Implausible: the answer is of another form than was asked for.
    """
    try:
        yield
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise Implausible(
            f"'{device}' answered what cannot be read ({type(error).__name__}: {reason})."
        ) from error


def read_json(text: str | bytes, device: str, what: str, numbers_only: bool = True) -> Any:
    """JSON that a device wrote.

    Args:
        text: Already bounded in size by whatever fetched it.
        device: Whose.
        what: What it holds, in a sentence.
        numbers_only: Refuse ``NaN`` and ``Infinity``, which are no JSON.

    Raises:
        Implausible: it is no JSON, nested without end, or holds a number that is none.
    """

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"'{word}' is no number")

    try:
        return json.loads(text, parse_constant=refuse if numbers_only else None)
    except (ValueError, RecursionError) as error:
        raise Implausible(f"{what} of '{device}' cannot be read ({error}).") from None


def number(
    value: Any,
    device: str,
    what: str,
    low: float = 0.0,
    high: float = MOST_MS,
) -> float:
    """A finite number within bounds.

    Raises:
        Implausible: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Implausible(f"'{device}' says {what} is {_short(value)}, which is no number.")
    if not (low <= value <= high):  # neither is true of NaN
        raise Implausible(f"'{device}' says {what} is {_short(value)}, which cannot be.")
    return float(value)


def numbers(
    values: Any,
    device: str,
    what: str,
    low: float = 0.0,
    high: float = MOST_MS,
    most: int = MOST_SAMPLES,
) -> list[float]:
    """A list of them.

    Raises:
        Implausible: it is none, or too long.
    """
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise Implausible(f"'{device}' sent no list of {what}.")
    if len(values) > most:
        raise Implausible(f"'{device}' sent {len(values)} of {what}; at most {most} can be.")
    return [number(value, device, what, low, high) for value in values]


def tensor_of(content: bytes, shape: Sequence[int], device: str) -> NDArray[np.float32]:
    """A tensor of raw little-endian float32.

    Raises:
        Implausible: its size is another.
    """
    if len(content) != 4 * math.prod(shape):
        raise Implausible(
            f"'{device}' put out {len(content)} bytes in place of {4 * math.prod(shape)}."
        )
    return np.frombuffer(content, "<f4").astype(np.float32).reshape(shape)


def quantities(
    values: Mapping[str, float], device: str, what: str, low: float, high: float
) -> None:
    """See that a sensor's figures by name can be.

    Raises:
        Implausible: one cannot, or there are too many of them.
    """
    data(dict(values), device)
    for name, value in values.items():
        number(value, device, f"{what} of {_short(name)}", low, high)


def data(value: Any, device: str, depth: int = _MOST_DEPTH) -> None:
    """See that plain data is bounded: length of texts, number of items, depth, finite numbers.

    Raises:
        Implausible: it is not, or holds something else than plain data.
    """
    if isinstance(value, str):
        if len(value) > _MOST_TEXT:
            raise Implausible(f"'{device}' sent {len(value)} characters for one of its facts.")
    elif isinstance(value, (Mapping, list, tuple)):
        if not depth or len(value) > _MOST_ITEMS:
            raise Implausible(f"'{device}' sent more of itself than can be kept.")
        for item in value.items() if isinstance(value, Mapping) else value:
            data(item, device, depth - 1)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Implausible(f"'{device}' sent {value} for one of its facts.")
    elif isinstance(value, int):
        if value.bit_length() > 63:
            raise Implausible(f"'{device}' sent a number too large for one of its facts.")
    elif value is not None:
        raise Implausible(f"'{device}' sent a {type(value).__name__} for one of its facts.")


def _short(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 63:
        return "a number of many digits"
    text = repr(value) if isinstance(value, (str, float, int, type(None))) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:40]}..."
