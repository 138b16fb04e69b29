"""Which layers eight bits hurt: on graphs and costs that are known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from srdeploy.exporting.precision import quantise_search as quantise_search
from srdeploy.exporting.precision.quantise_graph import quantise, quantise_weights
from srdeploy.exporting.precision.quantise_ranges import BINS, Statistics
from srdeploy.exporting.precision.quantise_search import (
    Cost,
    ranges_of,
    sensitivity,
    spare_fewest,
    usual_layers,
)
from srdeploy.models.quantised import Range
from tests.exporting.precision.test_graph import model, node, run

WIDE = np.random.default_rng(0).normal(0, 0.2, (8, 3, 3, 3)).astype(np.float32)
INNER = np.random.default_rng(1).normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32)
SAME = {"pads": [1, 1, 1, 1]}


def residual() -> onnx.ModelProto:
    """A shift, a head, two blocks with a short skip each, the long skip, and the end."""
    eye = np.eye(3, dtype=np.float32)[:, :, None, None]
    return model(
        [
            node("Conv", ["lr", "sub.weight"], "x"),
            node("Conv", ["x", "head.weight"], "h", **SAME),
            node("Conv", ["h", "a.weight"], "a", **SAME),
            node("Relu", ["a"], "ar"),
            node("Conv", ["ar", "b.weight"], "b", **SAME),
            node("Add", ["b", "h"], "s1"),
            node("Conv", ["s1", "c.weight"], "c", **SAME),
            node("Add", ["c", "s1"], "s2"),
            node("Conv", ["s2", "d.weight"], "d", **SAME),
            node("Add", ["d", "h"], "long"),
            node("Conv", ["long", "tail.weight"], "t", **SAME),
            node("DepthToSpace", ["t"], "p", blocksize=1, mode="CRD"),
            node("Conv", ["p", "add.weight"], "sr"),
        ],
        {
            "sub.weight": eye * 0.5, "head.weight": WIDE, "a.weight": INNER,
            "b.weight": INNER * 0.5, "c.weight": INNER * 2, "d.weight": INNER + 0.01,
            "tail.weight": WIDE.transpose(1, 0, 2, 3).copy(), "add.weight": eye * 2,
        },
    )  # fmt: skip


def test_the_ends_and_the_long_skip_stay() -> None:
    assert usual_layers(residual()) == ["a", "b", "/s1/Add", "c", "/s2/Add", "d"]


@pytest.mark.parametrize("enough", range(7))
def test_the_fewest_are_spared(enough: int) -> None:
    costs = [Cost(str(n), 10.0 - n) for n in range(6)]
    tried: list[int] = []

    def drop(spared: list[str]) -> float:
        assert spared == [str(n) for n in range(len(spared))]  # the dearest
        tried.append(len(spared))
        return 0.05 if len(spared) >= enough else 0.051

    found = spare_fewest(costs, drop, 0.05, 6)
    assert found == ([str(n) for n in range(enough)], 0.05)
    assert len(tried) == len(set(tried)) + (tried.count(6) > 1)
    assert spare_fewest(costs, drop, 0.05, enough - 1) is None or enough == 0
    assert spare_fewest(costs, lambda spared: 0.2 - len(spared) / 100, 0.19, 3) == (["0"], 0.19)


def entry(low: float, high: float) -> Statistics:
    return Statistics(low, high, np.ones(BINS, np.int64))


def test_pictures_keep_their_own_steps() -> None:
    made = model(
        [
            node("Conv", ["lr", "w.weight"], "a"),
            node("DepthToSpace", ["a"], "b", blocksize=1, mode="CRD"),
            node("DepthToSpace", ["b"], "sr", blocksize=1, mode="CRD"),
        ],
        {"w.weight": np.ones((3, 3, 1, 1), np.float32)},
    )  # fmt: skip
    seen = {"a": entry(-9, 300), "b": entry(-9, 300), "sr": entry(-9, 300), "lr": entry(3, 200)}
    found = ranges_of(made, seen, "minmax", symmetric=False, value_range=255.0)
    assert found == dict.fromkeys(("a", "b", "sr", "lr"), Range(0.0, 255.0))
    upscaled = ranges_of(made, {"lr": entry(-4, 260)}, "minmax", symmetric=False, value_range=255.0)
    assert upscaled == {"lr": Range(-4, 260)}
    inner = ranges_of(residual(), {"s1": entry(-9, 300)}, "minmax", symmetric=True, value_range=1.0)
    assert inner == {"s1": Range(-9, 300)}


@pytest.mark.parametrize("value_range", [1.0, 255.0])
def test_costs_are_in_steps_of_pixels_dearest_first(
    value_range: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer is off by two hundredths of white everywhere, the other by one."""
    share = {"a": 0.01, "b": -0.02}
    asked = []

    def rounded(
        made: onnx.ModelProto, names: list[str], ranges: object, *, activations: str
    ) -> str:
        asked.append((names, activations))
        return names[0]

    def runner(made: object) -> object:
        by = share.get(made, 0.0) * value_range if isinstance(made, str) else 0.0
        return lambda x: {"sr": x + np.float32(by)}

    monkeypatch.setattr(quantise_search, "quantise", rounded)
    monkeypatch.setattr(quantise_search, "runner", runner)
    inputs = [np.zeros((1, 3, 4, 4), np.float32), np.ones((1, 3, 2, 2), np.float32)]
    found = sensitivity(residual(), ["a", "b"], {}, inputs, activations="int8",
                        value_range=value_range)  # fmt: skip
    assert [cost.layer for cost in found] == ["b", "a"]
    assert [cost.noise for cost in found] == pytest.approx([5.1**2, 2.55**2], rel=1e-4)
    assert asked == [(["a"], "int8"), (["b"], "int8")]


# The rounded graph


def test_weights_are_whole_steps_of_their_channel() -> None:
    weights = np.array([[[[1.27, -0.64]]], [[[0.0, 0.0]]]], np.float32)
    values, scales = quantise_weights(weights, 0)
    assert values.tolist() == [[[[127, -64]]], [[[0, 0]]]]
    assert values.dtype == np.int8
    assert scales.dtype == np.float32
    assert scales.tolist() == pytest.approx([0.01, 1e-9])
    values, scales = quantise_weights(weights, 3)
    assert scales.tolist() == pytest.approx([0.01, 0.64 / 127])


@pytest.mark.parametrize("activations", ["uint8", "int8"])
def test_a_rounded_graph_is_the_rounded_arithmetic(activations: str) -> None:
    """One convolution on 8 bits, worked out in numpy."""
    made = model(
        [node("Conv", ["lr", "w.weight", "w.bias"], "a"), node("Relu", ["a"], "sr")],
        {"w.weight": np.array([[[[0.3]], [[-1.0]], [[0.2]]]] * 3, np.float32)
                     * np.array([1, 2, 3], np.float32)[:, None, None, None],
         "w.bias": np.array([0.1, 0.2, 0.3], np.float32)},
    )  # fmt: skip
    given, made_range = Range(-1.0, 1.5), Range(0.0, 2.0)
    small = quantise(made, ["w"], {"lr": given, "sr": made_range}, activations=activations)
    onnx.checker.check_model(small)

    def rounded(x: np.ndarray, interval: Range) -> np.ndarray:
        scale, zero = interval.grid(activations)
        low, high = (0, 255) if activations == "uint8" else (-128, 127)
        return (np.clip(np.round(x / scale) + int(zero), low, high) - int(zero)) * scale

    x = np.random.default_rng(0).uniform(-2, 2, (1, 3, 5, 6)).astype(np.float32)
    values, scales = quantise_weights(
        np.array(onnx.numpy_helper.to_array(made.graph.initializer[0])), 0
    )
    kernel = (values * scales[:, None, None, None])[..., 0, 0]
    y = (
        np.einsum("oi,nihw->nohw", kernel, rounded(x, given))
        + np.array([0.1, 0.2, 0.3])[:, None, None]
    )
    expected = rounded(np.maximum(y, 0), made_range)
    found = run(small, x)
    step = float(made_range.grid(activations)[0])
    assert np.abs(found - expected).max() < 1.01 * step
    assert np.mean(np.abs(found - expected) > step / 2) < 0.02
    names = [n.op_type for n in small.graph.node]
    assert names.count("QuantizeLinear") == 2
    assert names.count("DequantizeLinear") == 3
    assert [v.name for v in small.graph.output] == ["sr"]
    assert len(made.graph.node) == 2
