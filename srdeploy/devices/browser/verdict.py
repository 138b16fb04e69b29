"""What came of a measurement, in the words that the page shows at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from srdeploy.devices.protocol import Figures


def verdict(figures: Sequence[Figures]) -> dict[str, Any]:
    """The page's last words.

    Args:
        figures: Of the artifacts that took turns; the first is what the others are compared with.

    Returns:
        ``headline``: the largest difference in speed that is certain, or that there is none;
        ``detail``: the PSNR of each; ``rows``: a ``title`` and a ``text`` for each artifact.
    """
    first = figures[0].artifact
    compared = [one for one in figures[1:] if one.faster is not None]
    certain = [one for one in compared if _certain(one)]
    if certain:
        best = max(certain, key=lambda one: one.faster or 0.0)
        headline = f"{best.artifact} is {_times(best)}"
    elif compared:
        headline = "No certain difference in speed"
    elif figures[0].p50_ms is not None:
        headline = f"{first} takes {figures[0].p50_ms:.3g} ms"
    else:
        headline = "Measured"
    qualities = [f"{one.artifact} {one.psnr:.2f} dB" for one in figures if one.psnr is not None]
    sentences = [f"Compared with {first}."] if compared else []
    if qualities:
        sentences.append(f"PSNR: {', '.join(qualities)}.")
    rows = [{"title": one.artifact, "text": _row(one)} for one in figures]
    return {"headline": headline, "detail": " ".join(sentences), "rows": rows}


def _certain(one: Figures) -> bool:
    """Whether one lies outside of the interval; too few rounds for an interval count as that."""
    return one.interval is None or not one.interval[0] <= 1.0 <= one.interval[1]


def _times(one: Figures) -> str:
    assert one.faster is not None
    if one.faster >= 1.0:
        return f"{one.faster:.1f} times as fast"
    return f"slower: it takes {1 / one.faster:.1f} times as long"


def _row(one: Figures) -> str:
    parts = []
    if one.faster is not None:
        parts.append(_times(one) if _certain(one) else "about as fast")
    if one.psnr is not None:
        parts.append(f"PSNR {one.psnr:.2f} dB")
    return ", ".join(parts)
