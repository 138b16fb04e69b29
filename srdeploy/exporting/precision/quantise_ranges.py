"""Which interval of each tensor eight bits should cover: found on images, by a method of the table.

Covering everything wastes steps on values that hardly occur; covering less clips those. The methods
(:data:`srdeploy.models.calibration.CALIBRATION_METHODS`) differ in where they stop. Extrema are
exact; the rest works on histograms of :data:`BINS` bins over the full range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from srdeploy.errors import SrdeployError, unknown_name
from srdeploy.exporting.precision.graph import with_outputs
from srdeploy.exporting.probe import INPUT
from srdeploy.models.calibration import CALIBRATION_METHODS
from srdeploy.models.quantised import Method, Range
from srdeploy.runtime.session import default_threads
from srdeploy.util.progress import track

BINS = 2048
_PERCENTILE = 99.99
_STEPS = 255
_NARROW = 1e-3
"""Share of a value that float32 still parts into :data:`BINS`."""

_SHRINKS = np.linspace(1.0, 0.2, 41)
"""Candidates: either end of an interval may shrink to a fifth of what occurs."""


@dataclass
class Statistics:
    """What is known of one tensor's values.

    Attributes:
        low: Smallest value.
        high: Largest value.
        counts: int64 ``[BINS]``: how many values lie in each equal part of low..high.
    """

    low: float
    high: float
    counts: NDArray[np.int64]

    def centres(self) -> NDArray[np.float64]:
        """Middles of the histogram's bins."""
        width = (self.high - self.low) / BINS
        return self.low + width * (np.arange(BINS, dtype=np.float64) + 0.5)


def watch(
    model: onnx.ModelProto, tensors: Sequence[str], inputs: Iterable[NDArray[np.float32]]
) -> dict[str, Statistics]:
    """Statistics of inner tensors over a set of inputs, each run twice (extrema, histograms).

    Args:
        model: float32.
        tensors: Names of float32 tensors; the input's own is allowed.
        inputs: float32 [N, C, H, W] each.

    Raises:
        SrdeployError: a value that is not finite.
    """
    wanted = list(dict.fromkeys(tensors))
    run = runner(with_outputs(model, [name for name in wanted if name != INPUT]))
    return statistics_of(run, wanted, inputs)


def statistics_of(
    run: Callable[[NDArray], Mapping[str, NDArray]],
    wanted: Sequence[str],
    inputs: Iterable[NDArray[np.float32]],
) -> dict[str, Statistics]:
    """The same of whatever runs a network.

    Args:
        run: From an input to tensors by name.
        wanted: Which of them.
        inputs: float32 [N, C, H, W] each.

    Raises:
        SrdeployError: a value that is not finite.
    """
    batches = list(inputs)
    found: dict[str, Statistics] = {}
    with track("calibrate", total=2 * len(batches)) as bar:
        for x in batches:
            results = run(x)
            for name in wanted:
                _extremes(found, name, results[name])
            bar.update(1)
        for x in batches:
            results = run(x)
            for name in wanted:
                entry = found[name]
                span = (
                    entry.low,
                    max(entry.high, entry.low + max(1e-30, _NARROW * abs(entry.low))),
                )
                entry.counts += np.histogram(results[name], BINS, span)[0]
            bar.update(1)
    return found


def peaks(
    model: onnx.ModelProto, tensors: Sequence[str], inputs: Iterable[NDArray[np.float32]]
) -> dict[str, float]:
    """Largest magnitude of each of the tensors over a set of inputs; arguments as :func:`watch`."""
    run = runner(with_outputs(model, [name for name in tensors if name != INPUT]))
    found = dict.fromkeys(tensors, 0.0)
    for x in inputs:
        results = run(x)
        for name in tensors:
            found[name] = max(found[name], float(np.abs(results[name]).max()))
    return found


def runner(model: onnx.ModelProto, *, fuse: bool = True) -> Callable[[NDArray], dict[str, NDArray]]:
    """A function from the model's input to its outputs and its input, by name, in onnxruntime.

    Args:
        model: What to run.
        fuse: False: every node on its own, so that what is rounded is computed in float32.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = default_threads()
    options.log_severity_level = 3
    if not fuse:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda x: {INPUT: x, **dict(zip(names, session.run(None, {INPUT: x}), strict=True))}


def choose_range(statistics: Statistics, method: Method, *, symmetric: bool = False) -> Range:
    """The interval that 8 bits should cover.

    Args:
        statistics: Of the tensor.
        method: A name of the table.
        symmetric: The grid will be symmetric around 0.

    Raises:
        UserError: an unknown method.
    """
    if method not in CALIBRATION_METHODS:
        raise unknown_name("calibration method", method, CALIBRATION_METHODS)
    return CALIBRATION_METHODS[method].function()(statistics, symmetric)


def _extremes(found: dict[str, Statistics], name: str, values: NDArray) -> None:
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise SrdeployError(f"'{name}' is not finite on the calibration images.")
    entry = found.setdefault(name, Statistics(low, high, np.zeros(BINS, np.int64)))
    entry.low, entry.high = min(low, entry.low), max(high, entry.high)


def minmax(statistics: Statistics, symmetric: bool) -> Range:
    """All that occurs, and 0."""
    del symmetric
    return Range(min(statistics.low, 0.0), max(statistics.high, 0.0))


def percentile(statistics: Statistics, symmetric: bool) -> Range:
    """The :data:`_PERCENTILE` % of the values around the median, and 0."""
    del symmetric
    share = np.cumsum(statistics.counts) / statistics.counts.sum()
    tail = (1 - _PERCENTILE / 100) / 2
    centres = statistics.centres()
    low = centres[int(np.searchsorted(share, tail))]
    high = centres[min(int(np.searchsorted(share, 1 - tail)), BINS - 1)]
    return Range(min(float(low), 0.0), max(float(high), 0.0))


def mse(statistics: Statistics, symmetric: bool) -> Range:
    """Where rounding and clipping together have the least mean squared error."""
    return _search(statistics, symmetric, _squared_error)


def entropy(statistics: Statistics, symmetric: bool) -> Range:
    """Where the rounded histogram diverges least from the original one (Kullback-Leibler).

    Migacz, "8-bit inference with TensorRT", GTC 2017; here at both ends of the interval.
    """
    return _search(statistics, symmetric, _divergence)


def _search(
    statistics: Statistics,
    symmetric: bool,
    cost: Callable[[Statistics, Range, bool], float],
) -> Range:
    """Shrink one end, then the other, then the first again; both at once where symmetric."""
    full = minmax(statistics, symmetric)
    if symmetric:
        candidates = [Range(full.low * s, full.high * s) for s in _SHRINKS]
        return min(candidates, key=lambda r: cost(statistics, r, True))
    best = full
    for end in ("high", "low", "high"):
        shrunk = [
            Range(full.low * s, best.high) if end == "low" else Range(best.low, full.high * s)
            for s in _SHRINKS
        ]
        best = min(shrunk, key=lambda r: cost(statistics, r, False))
    return best


def _steps(statistics: Statistics, interval: Range, symmetric: bool) -> tuple[NDArray, NDArray]:
    """Where each bin's centre goes, and the number of its step."""
    scale, zero = interval.grid("int8" if symmetric else "uint8")
    lowest = -127 if symmetric else 0
    centres = statistics.centres()
    step = np.clip(np.round(centres / float(scale)) + int(zero), lowest, lowest + _STEPS)
    return (step - int(zero)) * float(scale), step.astype(np.int64) - lowest


def _squared_error(statistics: Statistics, interval: Range, symmetric: bool) -> float:
    values, _ = _steps(statistics, interval, symmetric)
    return float((statistics.counts * (values - statistics.centres()) ** 2).sum())


def _divergence(statistics: Statistics, interval: Range, symmetric: bool) -> float:
    """KL divergence of the histogram from itself after rounding, which spreads each step evenly.

    What is clipped has gone to the outermost steps, where the rounded histogram has it and the
    original has not.
    """
    _, step = _steps(statistics, interval, symmetric)
    counts = statistics.counts.astype(np.float64)
    centres = statistics.centres()
    inside = (centres >= interval.low) & (centres <= interval.high)
    if not counts[inside].any():
        return float("inf")
    occupied = (counts > 0) & inside
    mass = np.bincount(step[inside], counts[inside], minlength=_STEPS + 1)
    bins = np.bincount(step[occupied], minlength=_STEPS + 1)
    rounded = np.where(occupied, mass[step] / np.maximum(bins[step], 1), 0.0)
    first, last = np.flatnonzero(inside)[[0, -1]]
    clipped = np.where(inside, counts, 0.0)
    clipped[first] += counts[:first].sum()
    clipped[last] += counts[last + 1 :].sum()
    p, q = clipped / clipped.sum(), rounded / rounded.sum()
    there = p > 0
    return float((p[there] * np.log(p[there] / np.maximum(q[there], 1e-12))).sum())
