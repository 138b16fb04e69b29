"""The folder of a training run: where it is, and what its files are called."""

from __future__ import annotations

from pathlib import Path

CHECKPOINT = "checkpoint.pt"
"""The latest state."""

BEST = "best.safetensors"
"""The network of the highest validation figure so far."""

METRICS = "metrics.jsonl"
"""The curves: one JSON object per report."""

RECIPE = "recipe.yaml"
"""All settings, those by default included."""


def usual_folder(name: str) -> Path:
    """Where a run of this name is kept if nobody says where."""
    return Path("runs") / name
