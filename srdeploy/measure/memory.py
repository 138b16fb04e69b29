"""The most memory this process has held."""

from __future__ import annotations

from srdeploy.runtime.footprint import peak


def peak_mb() -> float | None:
    """Peak resident memory in MB (10^6 bytes), libraries included; None where unknown."""
    found = peak()
    return None if found is None else round(found / 1e6, 1)
