"""What every calibration method promises, on histograms of tensors as networks have them."""

from __future__ import annotations

import numpy as np

from srdeploy.exporting.precision.quantise_ranges import BINS, Statistics, choose_range

_EDGE = 2
"""Bins by which an end may miss: a histogram knows values no better."""


def check_calibration_method(name: str) -> None:
    """Hold a method of the table against what an export to 8 bits relies on.

    An interval is finite, holds 0, lies within the values that occur (and 0) and covers most of
    them, also for constant tensors and for histograms with empty tails; where the grid will be
    symmetric, values that are symmetric around 0 get a symmetric interval; equal statistics give
    equal intervals, and stay as they are.

    Args:
        name: A name of :data:`srdeploy.models.calibration.CALIBRATION_METHODS`.

    Raises:
        AssertionError: it does not keep one of these; the text says on which values.
        UserError: there is no such method.
    """
    for kind, statistics in _tensors().items():
        for symmetric in (False, True):
            where = f"{name} on {kind} values{', symmetric' if symmetric else ''}"
            counts = statistics.counts.copy()
            found = choose_range(statistics, name, symmetric=symmetric)
            low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
            assert np.isfinite([found.low, found.high]).all(), f"{where}: {found} is not finite"
            assert found.low <= 0 <= found.high, f"{where}: {found} does not hold 0"
            assert low <= found.low, f"{where}: {found} begins below the lowest value, {low:g}"
            assert found.high <= high, f"{where}: {found} ends above the highest value, {high:g}"
            again = choose_range(statistics, name, symmetric=symmetric)
            assert again == found, f"{where}: {found}, and then {again}"
            assert (statistics.counts == counts).all(), f"{where}: it changes the histogram"
            covered = _covered(statistics, found.low, found.high)
            assert covered > 0.5, f"{where}: {found} covers {covered:.0%} of them"
            if symmetric and statistics.low == -statistics.high:
                skew = abs(found.low + found.high) * BINS
                assert skew <= _EDGE * (high - low), f"{where}: {found} is not symmetric"


def _tensors() -> dict[str, Statistics]:
    """Statistics of float32 tensors: outputs of convolutions and of ReLUs, and awkward ones."""
    random = np.random.default_rng(0)
    normal = random.normal(0.0, 1.0, 50_000)
    half = np.abs(normal[:25_000])
    return {
        "normal": _seen(normal),
        "rectified": _seen(np.maximum(normal, 0)),
        "negative": _seen(-np.abs(normal) - 1),
        "heavy-tailed": _seen(random.laplace(0.0, 1.0, 50_000) ** 3),
        "symmetric": _symmetric(half),
        "empty-tailed": _symmetric(np.append(half, 8.0)),
        "zero": Statistics(0.0, 0.0, _all_in(BINS // 2)),
        "constant": Statistics(3.0, 3.0, _all_in(BINS // 2)),
        "two": Statistics(-1.0, 1.0, _all_in(0) + _all_in(BINS - 1)),
    }


def _seen(values: np.ndarray) -> Statistics:
    low, high = float(values.min()), float(values.max())
    return Statistics(low, high, np.histogram(values, BINS, (low, high))[0])


def _symmetric(half: np.ndarray) -> Statistics:
    """Of values and their negatives: a histogram that reads the same in either direction."""
    most = float(half.max())
    upper = np.histogram(half, BINS // 2, (0.0, most))[0]
    return Statistics(-most, most, np.concatenate((upper[::-1], upper)))


def _all_in(place: int) -> np.ndarray:
    counts = np.zeros(BINS, np.int64)
    counts[place] = 1000
    return counts


def _covered(statistics: Statistics, low: float, high: float) -> float:
    """The share of the values in an interval, its ends' bins included."""
    margin = _EDGE * (statistics.high - statistics.low) / BINS
    centres = statistics.centres()
    inside = (low - margin <= centres) & (centres <= high + margin)
    return float(statistics.counts[inside].sum() / statistics.counts.sum())
