"""What comes with the package: the files below ``srdeploy/assets/``. Looking costs nothing."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parents[1] / "assets"

LINES = "lines"
"""Folder of the recipes of the whole pipeline."""


def shipped(folder: str, ending: str = ".yaml") -> dict[str, Path]:
    """The files of one kind (``prune``, ``targets``, ``scenarios``...), by name.

    Args:
        folder: Of :data:`ASSETS`.
        ending: Of the files' names.
    """
    return {path.stem: path for path in sorted((ASSETS / folder).glob(f"*{ending}"))}


def shipped_networks() -> dict[str, Path]:
    """The networks, by name."""
    return shipped("networks", ".safetensors")


def shipped_scenarios() -> dict[str, Path]:
    """The measurement scenarios, by name."""
    return shipped("scenarios")
