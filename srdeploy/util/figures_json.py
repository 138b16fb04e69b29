"""Figures in JSON, which has no infinity: the strings ``"Infinity"``, ``"-Infinity"``, ``"NaN"``.

JavaScript's ``Number``, Python's ``float`` and pydantic read these words back. The PSNR of a
picture that equals its original is infinite, so they are no rare case.
"""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(document: Any, **options: Any) -> str:
    """JSON text that every reader takes; ``options`` are those of :func:`json.dumps`."""
    return json.dumps(_plain(document), allow_nan=False, **options)


def figure(value: Any) -> float | int | None:
    """What :func:`dumps` wrote for a number; None for anything else."""
    if isinstance(value, str) and value in ("Infinity", "-Infinity", "NaN"):
        return float(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
