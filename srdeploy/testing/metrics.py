"""What every metric must do: ``check_metric("psnr")`` in a test."""

from __future__ import annotations

import json
import math

import numpy as np

from srdeploy.quality.metrics import METRICS, Metric
from srdeploy.quality.result import ALWAYS, Quality, key_of
from srdeploy.util.figures_json import dumps

_SHAPES = ((0, 0), (0, 5), (0, 0, 3))
"""What is added to the smallest side: a square, an oblong, colours."""


def check_metric(name: str) -> None:
    """See that a row of :data:`srdeploy.quality.metrics.METRICS` keeps its promises.

    An image that equals its original has the best figure, all others have a worse one that lies in
    the range, whatever the planes' sizes; images of two shapes are refused; figures come back from
    JSON; and the row has a name and a heading of its own.

    Args:
        name: Of a row that is in the table.

    Raises:
        AssertionError: a promise is broken; the sentence says which.
    """
    metric = METRICS[name]
    assert metric.name == name, f"the row '{name}' is called '{metric.name}'"
    assert metric.title, f"{name} has no title"
    assert metric.low < metric.high, f"{name} ranges from {metric.low} to {metric.high}"
    headings = [row.heading() for row in METRICS.values()]
    assert headings.count(metric.heading()) == 1, f"two metrics are headed '{metric.heading()}'"
    random = np.random.default_rng(0)
    for taller, wider, *channels in _SHAPES:
        shape = (metric.smallest + taller, metric.smallest + wider, *channels)
        _check_figures(metric, random, shape)
    _check_refusals(metric, random)
    _check_json(metric)


def _check_figures(metric: Metric, random: np.random.Generator, shape: tuple[int, ...]) -> None:
    original = random.uniform(0, 255, shape)
    near = np.clip(original + random.normal(0, 5, shape), 0, 255)
    far = random.uniform(0, 255, shape)
    black, white = np.zeros(shape), np.full(shape, 255.0)
    same = metric.measure(original.copy(), original)
    assert _alike(same, metric.best), f"{metric.name} of equal images is {same}, not {metric.best}"
    for result, other in ((near, original), (far, original), (black, white), (black, original)):
        before = result.copy(), other.copy()
        value = metric.measure(result, other)
        assert math.isfinite(value), f"{metric.name} of different images is {value}"
        assert metric.low <= value <= metric.high, f"{metric.name} is {value}, outside its range"
        assert metric.lost(metric.best, value) > 0, f"{metric.name} of different images is {value}"
        unchanged = np.array_equal(result, before[0]) and np.array_equal(other, before[1])
        assert unchanged, f"{metric.name} changes the images that it compares"
        assert value == metric.measure(result, other), f"{metric.name} differs from call to call"
        if metric.symmetric:
            back = metric.measure(other, result)
            assert _alike(value, back), f"{metric.name} is {value} one way and {back} the other"


def _check_refusals(metric: Metric, random: np.random.Generator) -> None:
    side = metric.smallest + 1
    a = random.uniform(0, 255, (side, side))
    pairs = [(a, a[1:]), (a, a[:, 1:]), (a, np.stack([a] * 3, axis=2))]
    if metric.smallest > 1:
        small = a[: metric.smallest - 1]
        pairs.append((small, small.copy()))
    for a, b in pairs:
        try:
            value = metric.measure(a, b)
        except ValueError:
            continue
        raise AssertionError(f"{metric.name} of shapes {a.shape} and {b.shape} is {value}")


def _check_json(metric: Metric) -> None:
    """A mean and an image's figure, of ordinary and of equal images, there and back."""
    for value in (metric.best, min(metric.high, metric.low + 1)):
        whole = Quality(
            figures={**dict.fromkeys(ALWAYS, 0.5), metric.name: value},
            colour="y",
            protocol="p",
            n_images=1,
            per_image=[{"name": "a", key_of(metric.name, "y"): value}],
        )
        text = dumps(whole.model_dump())
        assert Quality.model_validate(json.loads(text)) == whole, f"{metric.name}: {text}"


def _alike(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
