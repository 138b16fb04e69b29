"""A comparison for people."""

from __future__ import annotations

from math import isfinite

from srdeploy.benchmarking.deciding.compare import Comparison, OutputDifference
from srdeploy.exporting.layer_differences import LayerDifferences

SHOWN = 12
"""Layers listed at most, unless everything is asked for."""


def parity_lines(comparison: Comparison, everything: bool = False) -> list[str]:
    """What stands under the table of latency and quality: outputs and layers against the first."""
    first = comparison.rows[0].artifact
    lines = []
    for row, parity in zip(comparison.rows, comparison.parities, strict=True):
        if parity is not None:
            told = _sentences(parity, everything)
            lines += [f"{row.artifact} against {first}:", *(f"  {s}" for s in told)]
    return lines


def _sentences(parity: OutputDifference, everything: bool) -> list[str]:
    told = []
    if parity.levels is not None and parity.psnr_db is not None:
        psnr = f"{parity.psnr_db:.1f} dB" if isfinite(parity.psnr_db) else "equal"
        told.append(f"outputs: at most {parity.levels:.3g} of 255 levels apart, PSNR {psnr}")
    if parity.psnr_drop_db is not None:
        word = "lost" if parity.psnr_drop_db >= 0 else "gained"
        told.append(f"quality: {abs(parity.psnr_drop_db):.3f} dB {word} on the set")
    if parity.note:
        told.append(f"not compared: {parity.note}")
    if parity.divergence is not None:
        told += _layers(parity.divergence, everything)
    elif parity.levels is not None:
        told.append("layers: not looked into, the outputs agree to rounding")
    return told


def _layers(found: LayerDifferences, everything: bool) -> list[str]:
    if found.note:
        return [f"layers: {found.note}"]
    if found.first is None or found.worst is None:
        return [f"layers: all {len(found.layers)} that match agree to rounding; the outputs part "
                "after the last of them"]  # fmt: skip
    told = [
        f"layers: first apart at {found.first.layer} ({found.first.relative:.1e} of its largest "
        f"value, {found.first.snr_db:.0f} dB); the error grows most at {found.worst.layer}"
    ]
    shown = found.layers if everything else found.layers[:SHOWN]
    for gap in shown:
        scaled = f", up to a factor of {gap.factor:.4g}" if gap.factor != 1 else ""
        told.append(f"  {gap.layer:<28} {gap.relative:8.1e}  {gap.snr_db:6.1f} dB{scaled}")
    if rest := len(found.layers) - len(shown):
        told.append(f"  ... {rest} more layers (--verbose lists them)")
    if found.unmatched:
        told.append(f"  {found.unmatched} layers have no counterpart of their name and shape")
    return told
