"""What ``fit`` and ``profile`` are given as text."""

from __future__ import annotations

import math
import re

from srdeploy.cli import options as o

_UNITS = {"ms": 1.0, "s": 1e3}


def only_device(text: str) -> str:
    """The one device of ``--device``.

    Raises:
        UserError: several.
    """
    from srdeploy.errors import UserError

    found = o.places(text)
    if len(found) != 1:
        raise UserError(f"--device '{text}' names {len(found)} devices; name one.")
    return found[0]


def budgets_ms(budget: str | None, fps: float | None) -> tuple[float, ...]:
    """The milliseconds that one image may take, the smallest first.

    Args:
        budget: As ``--budget`` has it: ``33ms`` or ``16ms,33ms``.
        fps: Frames per second.

    Raises:
        UserError: neither or both, or no duration.
    """
    from srdeploy.errors import UserError

    if (budget is None) == (fps is None):
        raise UserError("Give a budget, either --budget 33ms or --fps 30.")
    if fps is not None:
        return (1e3 / fps,)
    return tuple(sorted(set(map(_milliseconds, o.listed(budget or "")))))


def _milliseconds(text: str) -> float:
    from srdeploy.errors import UserError

    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) ?(ms|s)", text)
    value = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < value < math.inf:
        raise UserError(f"--budget '{text}' is no duration; write 33ms, or 0.5s.")
    return value
