"""What masks left to compute, in words that are the same for every engine in C."""

from __future__ import annotations

from collections.abc import Sequence


def masks_told(modules: Sequence[tuple[float, str]]) -> str:
    """The latest image's modules: share of pixels inside the mask (0..1), and form."""
    listed = ", ".join(f"{density:.0%} {form}" for density, form in modules)
    return f"latest image, pixels inside the mask and form of every module: {listed}"
