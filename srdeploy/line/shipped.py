"""What comes with the package on each axis; looking costs nothing."""

from __future__ import annotations

from pathlib import Path

LINES = "lines"
"""Folder of the recipes themselves."""

_ASSETS = Path(__file__).parents[1] / "assets"


def shipped(folder: str, ending: str = ".yaml") -> dict[str, Path]:
    """The values of one axis (``prune``, ``targets``...): file by name."""
    return {path.stem: path for path in sorted((_ASSETS / folder).glob(f"*{ending}"))}
