"""Where two versions of a network part: layer against layer, in the order computed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError
from srdeploy.exporting.layers import Activations, activations_of, torch_activations
from srdeploy.models.network import Network

TOLERANCE = 1e-4
"""Largest relative difference that float32 rounding explains (as exports are held to)."""


@dataclass(frozen=True)
class LayerDifference:
    """One layer's outputs compared.

    Attributes:
        layer: Its name.
        relative: Largest |difference| over the largest |value| of the first, once scaled.
        snr_db: Power of the first over that of the difference.
        factor: What the second is multiplied with to fit the first best. An export that folds the
            value range or a residual scaling into its weights computes the same up to a factor.
    """

    layer: str
    relative: float
    snr_db: float
    factor: float


@dataclass(frozen=True)
class LayerDifferences:
    """The comparison of two versions' layers.

    Attributes:
        first: The first layer beyond the tolerance; None where no layer is.
        worst: The layer at which the error grows most over the one before; None likewise.
        layers: All layers matched, in the order computed.
        unmatched: How many layers of the two have no counterpart.
        note: Why nothing could be compared, or a remark; None otherwise.
    """

    first: LayerDifference | None
    worst: LayerDifference | None
    layers: list[LayerDifference]
    unmatched: int
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


def find_layer_differences(
    a: Activations, b: Activations, tolerance: float = TOLERANCE
) -> LayerDifferences:
    """Compare layers of the same name and shape, in the order of the first.

    Args:
        a: The reference's layers.
        b: The other's.
        tolerance: Relative difference beyond which a layer counts as different.
    """
    gaps = [
        compare_layer(name, a[name], b[name])
        for name in a
        if name in b and a[name].shape == b[name].shape
    ]
    unmatched = len(set(a) | set(b)) - len(gaps)
    if not gaps:
        note = f"no layer can be matched by name and shape ({len(a)} against {len(b)} layers)"
        return LayerDifferences(None, None, [], unmatched, note)
    beyond = [gap for gap in gaps if not gap.relative <= tolerance]  # NaN counts
    if not beyond:
        return LayerDifferences(None, None, gaps, unmatched)
    growth = {
        later.layer: later.relative / max(earlier.relative, tolerance / 100)
        for earlier, later in pairwise(gaps)
        if later in beyond
    }
    growth.setdefault(gaps[0].layer, gaps[0].relative / tolerance)
    worst = max(beyond, key=lambda gap: growth.get(gap.layer, 0.0))
    return LayerDifferences(beyond[0], worst, gaps, unmatched)


def parting(network: Network | None, artifact: str | Path, x: NDArray[np.float32]) -> str:
    """Where an artifact leaves its network, as the end of a sentence; empty where that is unknown.

    Args:
        network: The reference, where there is one.
        artifact: What was made of it.
        x: The input on which the two differ.
    """
    if network is None:
        return ""
    try:
        found = find_layer_differences(
            torch_activations(network, x), activations_of(str(artifact), x)
        )
    except SrdeployError:
        return ""
    if found.first is None or found.worst is None:
        return "; all layers that can be matched agree, so it is what comes after them"
    worst = "" if found.worst == found.first else f", most at {found.worst.layer}"
    return f"; they part at {found.first.layer}{worst}"


def compare_layer(name: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> LayerDifference:
    """Compare two outputs of one layer, the second scaled by one number to fit."""
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return LayerDifference(name, float("nan"), float("-inf"), 1.0)
    x, y = a.astype(np.float64), b.astype(np.float64)
    power = float((y * y).sum())
    factor = float((x * y).sum()) / power if power else 1.0
    if abs(factor - 1) < 0.02 or factor <= 0:  # rounding, not a folded factor
        factor = 1.0
    difference = x - factor * y
    peak, noise = float(np.abs(x).max()), float((difference**2).sum())
    relative = float(np.abs(difference).max()) / peak if peak else float(noise > 0)
    signal = float((x * x).sum())
    snr = 10 * np.log10(signal / noise) if noise and signal else float("inf")
    return LayerDifference(name, relative, float(snr), factor)
