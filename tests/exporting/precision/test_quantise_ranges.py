"""Intervals of 8 bits, on histograms whose answer is known."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.precision.quantise_ranges import (
    BINS,
    Statistics,
    _divergence,
    _squared_error,
    _steps,
    choose_range,
    peaks,
    runner,
    statistics_of,
    watch,
)
from srdeploy.models.calibration import CALIBRATION_METHODS
from srdeploy.models.quantised import Range


def statistics(
    values: np.ndarray, low: float | None = None, high: float | None = None
) -> Statistics:
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    return Statistics(low, high, np.histogram(values, BINS, (low, high))[0])


def test_bins_are_equal_parts() -> None:
    centres = Statistics(-1.0, 3.0, np.zeros(BINS, np.int64)).centres()
    assert centres.shape == (2048,)
    assert centres[0] == pytest.approx(-1 + 2 / 2048)
    assert centres[-1] == pytest.approx(3 - 2 / 2048)
    np.testing.assert_allclose(np.diff(centres), 4 / 2048)


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(-2, 3, (-2, 3)), (1, 3, (0, 3)), (-3, -1, (-3, 0))]
)
def test_minmax_holds_zero(low: float, high: float, expected: tuple[float, float]) -> None:
    for symmetric in (False, True):
        found = choose_range(Statistics(low, high, np.ones(BINS, np.int64)), "minmax",
                             symmetric=symmetric)  # fmt: skip
        assert (found.low, found.high) == expected


def test_percentile_leaves_one_in_ten_thousand_out() -> None:
    """Half of them at each end: 100,000 values lose five below and five above."""
    counts = np.zeros(BINS, np.int64)
    counts[1000] = 99_980
    for outliers, low_kept, high_kept in ((4, False, False), (10, True, True)):
        counts[0] = counts[-1] = outliers
        counts[1000] = 100_000 - 2 * outliers
        entry = Statistics(-1.0, 1.0, counts)
        found = choose_range(entry, "percentile")
        assert (found.low == pytest.approx(entry.centres()[0])) == low_kept
        assert (found.high == pytest.approx(entry.centres()[-1])) == high_kept
        if not low_kept:
            assert found.low == pytest.approx(entry.centres()[1000])
            assert found.high == 0
    lonely = Statistics(2.0, 3.0, counts)
    assert choose_range(lonely, "percentile").low == 0  # zero stays inside


def with_outlier(low: float, high: float, at: int) -> Statistics:
    """Fifty million values around zero, and one at an end."""
    values = np.random.default_rng(0).normal(0, 0.1, 50_000)
    entry = statistics(values, low, high)
    entry.counts *= 1000
    entry.counts[at] += 1
    return entry


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_a_lonely_outlier_is_clipped(method: str, symmetric: bool) -> None:
    entry = with_outlier(-1.0, 3.0, at=-1)
    found = choose_range(entry, method, symmetric=symmetric)
    assert found.high < 1.5
    assert found.low < 0
    if symmetric:  # both ends shrink alike
        assert found.high / 3.0 == pytest.approx(found.low / -1.0)
    flat = np.linspace(-1, 1, 50_000)
    whole = choose_range(statistics(flat), "mse", symmetric=symmetric)
    assert (whole.low, whole.high) == (pytest.approx(-1, abs=0.03), pytest.approx(1, abs=0.03))


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_either_end_shrinks(method: str) -> None:
    """To a fifth of what occurs at most."""
    at_low = choose_range(with_outlier(-50.0, 1.0, at=0), method)
    at_high = choose_range(with_outlier(-1.0, 50.0, at=-1), method)
    assert -15 < at_low.low <= -10
    assert 10 <= at_high.high < 15
    assert 0.2 <= at_low.high <= 1
    assert -1 <= at_high.low <= -0.2


def test_mse_is_the_least_error_of_its_candidates() -> None:
    entry = statistics(np.random.default_rng(1).laplace(0, 1, 20_000))
    found = choose_range(entry, "mse", symmetric=True)
    shrinks = [1 - 0.02 * n for n in range(41)]
    errors = [_squared_error(entry, Range(entry.low * s, entry.high * s), True) for s in shrinks]
    assert _squared_error(entry, found, True) == pytest.approx(min(errors))
    assert found.high == pytest.approx(entry.high * shrinks[int(np.argmin(errors))])


def test_steps_and_their_error() -> None:
    """0..255 in whole numbers: bins between two steps go to the nearer one."""
    entry = Statistics(-64.0, 320.0, np.ones(BINS, np.int64))
    for symmetric, interval, low, high, first in (
        (False, Range(0.0, 255.0), 0, 255, 0),
        (False, Range(-64.0, 191.0), -64, 191, 0),
        (True, Range(-127.0, 100.0), -127, 128, 63),
    ):
        values, step = _steps(entry, interval, symmetric)
        expected = np.clip(np.round(entry.centres()), low, high)
        np.testing.assert_allclose(values, expected, atol=1e-3)
        assert step.min() == first
        assert step.max() == 255
        error = _squared_error(entry, interval, symmetric)
        assert error == pytest.approx(((expected - entry.centres()) ** 2).sum(), rel=1e-3)


def test_divergence_of_what_is_kept_and_lost() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[[100, 700, 1500]] = 10, 20, 30
    entry = Statistics(0.0, 1.0, counts)
    whole = _divergence(entry, Range(0.0, 1.0), False)
    assert whole == pytest.approx(0, abs=1e-9)
    cut = _divergence(entry, Range(0.0, 0.5), False)
    # 30 of 60 values lie beyond: half of p is where q has nothing.
    p = np.array([1 / 6, 1 / 3, 1 / 2])
    q = np.array([1 / 3, 2 / 3, 1e-12])
    assert cut == pytest.approx(float((p * np.log(p / q)).sum()), rel=0.02)
    assert _divergence(entry, Range(0.0, 1e-6), False) == float("inf")


def test_methods_by_name() -> None:
    assert set(CALIBRATION_METHODS) == {"minmax", "percentile", "entropy", "mse"}
    with pytest.raises(UserError, match=r"no calibration method named 'mze'; did you mean 'mse'\?"):
        choose_range(Statistics(0, 1, np.ones(BINS, np.int64)), "mze")  # type: ignore[arg-type]


def scaled() -> onnx.ModelProto:
    """y = 2 * relu(lr) - 1, by steps of their own names."""
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, "h", "w"]) for n in ("lr", "y")
    ]
    nodes = [
        helper.make_node("Relu", ["lr"], ["a"]),
        helper.make_node("Mul", ["a", "two"], ["b"]),
        helper.make_node("Sub", ["b", "one"], ["y"]),
    ]
    stored = [numpy_helper.from_array(np.float32(v), n) for n, v in (("two", 2), ("one", 1))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def image(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


def test_watching() -> None:
    found = watch(scaled(), ["lr", "b", "y", "b"], [image(-3, 1), image(2, 4, -1)])
    assert set(found) == {"lr", "b", "y"}
    assert (found["lr"].low, found["lr"].high) == (-3, 4)
    assert (found["b"].low, found["b"].high) == (0, 8)
    assert (found["y"].low, found["y"].high) == (-1, 7)
    for entry in found.values():
        assert entry.counts.sum() == 5
    places = np.flatnonzero(found["b"].counts)  # 0 (twice), 2, 4, 8 of 0..8
    assert places.tolist() == [0, 512, 1024, 2047]
    assert found["b"].counts[places].tolist() == [2, 1, 1, 1]
    flat = watch(scaled(), ["a"], [image(-1, -2)])["a"]  # nothing but zeros
    assert (flat.low, flat.high, flat.counts.sum()) == (0, 0, 2)
    with pytest.raises(SrdeployError, match="'b' is not finite on the calibration images"):
        watch(scaled(), ["b"], [image(3e38)])


@pytest.mark.parametrize("value", [0.5, -300.0, 0.0])
def test_values_that_are_all_the_same(value: float) -> None:
    x = np.full((1, 3, 4), value, np.float32)
    found = statistics_of(lambda given: {"x": given}, ["x"], [x])["x"]
    assert (found.low, found.high, found.counts.sum()) == (value, value, 12)


def test_peaks() -> None:
    assert peaks(scaled(), ["lr", "b", "y"], [image(-9, 1), image(2)]) == {"lr": 9, "b": 4, "y": 3}
    assert peaks(scaled(), ["b"], []) == {"b": 0}


@pytest.mark.parametrize("fuse", [True, False])
def test_a_model_as_a_function(fuse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    seen = []
    real = ort.InferenceSession

    def noted(
        content: bytes, options: ort.SessionOptions, providers: list[str]
    ) -> ort.InferenceSession:
        seen.append((options.intra_op_num_threads, options.graph_optimization_level, providers))
        return real(content, options, providers=providers)

    monkeypatch.setattr(ort, "InferenceSession", noted)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = runner(scaled(), fuse=fuse)(image(-1, 5))
    levels = ort.GraphOptimizationLevel
    level = levels.ORT_ENABLE_ALL if fuse else levels.ORT_DISABLE_ALL
    assert seen == [(3, level, ["CPUExecutionProvider"])]
    assert list(found) == ["lr", "y"]
    assert found["y"].ravel().tolist() == [-1, 9]
