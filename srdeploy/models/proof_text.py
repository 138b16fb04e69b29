"""What a card's proof says, in words: the same wherever it is told."""

from __future__ import annotations

from typing import Any


def tell_proof(proof: dict[str, Any]) -> list[str]:
    """Lines for a proof record of any age; what an older one does not say is left out.

    For instance "masked(x) == compact(x) in float64, to 5.8e-16 of the value range" and
    "checked on 12x12, 20x24, 29x17, 152x136 pixels, and on 2 images at once".
    """
    claim = str(proof.get("claim", "no claim"))
    if "tolerance" not in proof:
        return [claim]
    where = f" in {proof['dtype']}" if "dtype" in proof else ""
    told = [f"{claim}{where}, to {_number(proof.get('max_difference'))} of the value range"]
    sizes = proof.get("sizes")
    if isinstance(sizes, list) and sizes and all(_is_size(size) for size in sizes):
        told.append(f"checked on {', '.join(f'{w}x{h}' for h, w in sizes)} pixels")
        if isinstance(batch := proof.get("batch"), int) and batch > 1:
            told[-1] += f", and on {batch} images at once"
    return told


def _number(value: object) -> str:
    return f"{value:.1e}" if isinstance(value, (int, float)) else str(value)


def _is_size(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2
