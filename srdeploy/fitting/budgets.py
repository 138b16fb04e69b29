"""What one image may take, as people write it: ``33ms``, ``0.5s``, or frames per second."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from srdeploy.errors import UserError

_UNITS = {"ms": 1.0, "s": 1e3}


def budgets_ms(budgets: Iterable[str], fps: float | None) -> tuple[float, ...]:
    """The milliseconds that one image may take, the smallest first.

    Args:
        budgets: ``33ms``, ``0.5s``.
        fps: Frames per second.

    Raises:
        UserError: neither or both, or no duration.
    """
    texts = list(budgets)
    if (not texts) == (fps is None):
        raise UserError("Give a budget, either --budget 33ms or --fps 30.")
    if fps is not None:
        return (1e3 / fps,)
    return tuple(sorted(set(map(_milliseconds, texts))))


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) ?(ms|s)", text)
    value = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < value < math.inf:
        raise UserError(f"--budget '{text}' is no duration; write 33ms, or 0.5s.")
    return value
