"""Rounding to 8 bits: grids, weights, what is rounded where, and which ranges are taken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision.graph import layers_of, readers_of
from srdeploy.exporting.precision.quantise_graph import quantise, quantise_weights
from srdeploy.exporting.precision.quantise_ranges import (
    BINS,
    Statistics,
    choose_range,
    runner,
    watch,
)
from srdeploy.exporting.precision.quantise_search import Cost, ranges_of, spare_fewest, usual_layers
from srdeploy.models.probes import photograph
from srdeploy.models.quantised import Range
from srdeploy.models.registry import create


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("q") / "net.onnx"
    export_onnx(create("edsr", scale=2, n_blocks=2, n_feats=8), path, check=False)
    return onnx.load(path)


def statistics_of(values: np.ndarray) -> Statistics:
    low, high = float(values.min()), float(values.max())
    return Statistics(low, high, np.histogram(values, BINS, (low, high))[0])


def test_grids_hold_zero_and_both_ends() -> None:
    scale, zero = Range(-1.0, 3.0).grid("uint8")
    assert zero.dtype == np.uint8
    assert (0 - int(zero)) * scale == pytest.approx(-1, abs=float(scale))
    assert (255 - int(zero)) * scale == pytest.approx(3, abs=float(scale))
    scale, zero = Range(0.0, 255.0).grid("uint8")
    assert (scale, zero) == (1, 0)  # a picture's own steps
    scale, zero = Range(-1.0, 3.0).grid("int8")
    assert (zero.dtype, int(zero)) == (np.int8, 0)
    assert 127 * scale == pytest.approx(3)
    assert Range(0.0, 0.0).grid("uint8")[0] > 0


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_have_a_scale_per_output_channel(axis: int) -> None:
    weights = np.random.default_rng(0).normal(size=(6, 4, 3, 3)).astype(np.float32)
    weights = weights * np.logspace(-3, 3, weights.shape[axis]).reshape(
        (-1, 1, 1, 1) if axis == 0 else (1, -1, 1, 1)
    )
    values, scales = quantise_weights(weights, axis)
    assert scales.shape == (weights.shape[axis],)
    along = scales.reshape((-1, 1, 1, 1) if axis == 0 else (1, -1, 1, 1))
    assert (np.abs(values * along - weights) <= 0.5001 * along).all()
    assert np.abs(values).max() == 127


def test_layers_have_their_modules_names(model: onnx.ModelProto) -> None:
    layers = layers_of(model)
    names = [layer.name for layer in layers if not layer.is_sum]
    assert names == [
        "sub_mean", "head.0", "body.0.body.0", "body.0.body.2", "body.1.body.0", "body.1.body.2",
        "body.2", "tail.0.0", "tail.1", "add_mean",
    ]  # fmt: skip
    first = next(layer for layer in layers if layer.name == "body.0.body.0")
    assert first.output != first.result  # the ReLU belongs to it
    assert sum(layer.is_sum for layer in layers) == 3


def test_int8_leaves_the_ends_and_the_long_skip(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(create("ledsr", scale=2, n_blocks=2, n_feats=8), path, check=False)
    model = onnx.load(path)
    layers = layers_of(model)
    usual = usual_layers(model)
    spared = [layer.name for layer in layers if layer.name not in usual]
    assert spared == ["sub_mean", "head.0", "/Add", "tail.0", "add_mean"]
    assert sum(layer.is_sum for layer in layers if layer.name in usual) == 2


@pytest.mark.parametrize("scale", [2, 4])
def test_the_long_skip_stays_float_before_an_upsampler(scale: int, tmp_path: Path) -> None:
    """There an 8-bit convolution reads its sum; rounding the sum's inputs would cost decibels."""
    path = tmp_path / "net.onnx"
    export_onnx(create("edsr", scale=scale, n_blocks=2, n_feats=8), path, check=False)
    model = onnx.load(path)
    usual = usual_layers(model)
    spared = [layer.name for layer in layers_of(model) if layer.name not in usual]
    assert spared == ["sub_mean", "head.0", "/Add", "tail.1", "add_mean"]
    assert [name for name in usual if name.startswith("tail")] == ["tail.0.0", "tail.0.2"][
        : scale // 2
    ]


@pytest.mark.parametrize("arch", ["ledsr", "edsr", "rirsr", "smsr"])
def test_layers_as_narrow_as_the_image_are_no_ends(arch: str, tmp_path: Path) -> None:
    found = []
    for width in (3, 8):
        small = {"n_groups": 1, "n_blocks": 1} if arch == "rirsr" else {"n_blocks": 1}
        config = {"n_modules": 1, "n_layers": 2} if arch == "smsr" else small
        export_onnx(create(arch, n_feats=width, **config), tmp_path / "net.onnx", check=False)
        model = onnx.load(tmp_path / "net.onnx")
        usual = set(usual_layers(model))
        found.append({n for n in usual if not n.startswith("/") and "outside" not in n})
    assert found[0] == found[1]
    assert len(found[0]) > 2
    assert not {"head.0", "tail.1", "sub_mean", "add_mean"} & found[0]


def test_a_rounded_layer_is_rounded_and_others_are_not(model: onnx.ModelProto) -> None:
    layers = {layer.name: layer for layer in layers_of(model)}
    layer = layers["body.0.body.2"]
    ranges = dict.fromkeys((*layer.inputs, layer.output), Range(-1.0, 1.0))
    rounded = quantise(model, [layer.name], ranges)
    counted = [node.op_type for node in rounded.graph.node]
    assert (counted.count("QuantizeLinear"), counted.count("DequantizeLinear")) == (2, 3)
    following = readers_of(rounded.graph)
    # The branch alone is rounded: the block's own sum still reads the float skip.
    block_sum = next(node for node in rounded.graph.node if node.name == "/body/body.0/Add")
    assert block_sum.input[0] == layers["body.0.body.0"].inputs[0]
    assert block_sum.input[1] == f"{layer.output}_dq"
    assert [n.op_type for n in following[layer.output]] == ["QuantizeLinear"]
    assert layer.weight not in {t.name for t in rounded.graph.initializer}
    onnx.checker.check_model(rounded, full_check=True)


def test_everything_rounded_still_runs_close(model: onnx.ModelProto) -> None:
    card = create("edsr", scale=2, n_blocks=2, n_feats=8).card
    x = photograph(card, (24, 32))
    layers = layers_of(model)
    tensors = [t for layer in layers for t in (*layer.inputs, layer.output)]
    statistics = watch(model, tensors, [x])
    ranges = ranges_of(model, statistics, "minmax", symmetric=False, value_range=255.0)
    assert ranges["lr"] == ranges["sr"] == Range(0.0, 255.0)
    rounded = quantise(model, [layer.name for layer in layers], ranges)
    out, expected = runner(rounded)(x)["sr"], runner(model)(x)["sr"]
    np.testing.assert_array_equal(out, np.round(out))  # the picture's own 8 bits
    assert np.abs(out - np.clip(expected, 0, 255)).mean() < 4


@pytest.mark.parametrize("n_blocks", [2, 5])
def test_the_body_is_never_transposed(n_blocks: int, tmp_path: Path) -> None:
    """Transpositions around each sum would cost a third of the time: few, whatever the depth."""
    network = create("ledsr", scale=2, n_blocks=n_blocks, n_feats=16)
    x = photograph(network.card, (24, 32))
    export_onnx(network, tmp_path / "float.onnx", check=False)
    model = onnx.load(tmp_path / "float.onnx")
    layers = [layer for layer in layers_of(model) if layer.name in usual_layers(model)]
    statistics = watch(model, [t for layer in layers for t in (*layer.inputs, layer.output)], [x])
    ranges = ranges_of(model, statistics, "minmax", symmetric=False, value_range=255.0)
    rounded = quantise(model, [layer.name for layer in layers], ranges)
    onnx.checker.check_model(rounded, full_check=True)
    (passed,) = [node for node in rounded.graph.node if node.name.endswith("_passed/Conv")]

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(rounded.SerializeToString(), options, providers=["CPUExecutionProvider"])
    counted = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert counted["QLinearAdd"] == n_blocks
    assert counted["Transpose"] <= 3

    plain = onnx.ModelProto()
    plain.CopyFrom(rounded)
    nodes = {node.name: node for node in plain.graph.node}
    plain.graph.node.remove(nodes[passed.name])
    nodes[f"{passed.output[0]}/QuantizeLinear"].input[0] = passed.input[0]
    np.testing.assert_array_equal(runner(plain)(x)["sr"], runner(rounded)(x)["sr"])


def test_symmetric_files_are_left_to_their_runtime(model: onnx.ModelProto) -> None:
    layers = layers_of(model)
    ranges = {t: Range(-1.0, 1.0) for layer in layers for t in (*layer.inputs, layer.output)}
    names = usual_layers(model)
    for activations, count in (("uint8", 1), ("int8", 0)):
        rounded = quantise(model, names, ranges, activations=activations)
        found = [node for node in rounded.graph.node if node.name.endswith("_passed/Conv")]
        assert len(found) == count


def test_watching_gives_extremes_and_all_values(model: onnx.ModelProto) -> None:
    xs = [np.full((1, 3, 8, 8), value, np.float32) for value in (10, 200)]
    found = watch(model, ["lr", layers_of(model)[1].output], xs)
    assert (found["lr"].low, found["lr"].high) == (10, 200)
    assert found["lr"].counts.sum() == 2 * 3 * 64
    assert found["lr"].counts[[0, -1]].tolist() == [192, 192]


def test_methods_clip_outliers_as_they_should() -> None:
    values = np.random.default_rng(0).normal(size=200_000)
    values[0], values[1] = 40.0, -30.0
    entry = statistics_of(values)
    found = {m: choose_range(entry, m) for m in ("minmax", "percentile", "entropy", "mse")}
    assert found["minmax"] == Range(-30.0, 40.0)
    assert found["percentile"].high == pytest.approx(3.9, abs=0.3)
    assert found["percentile"].low == pytest.approx(-3.9, abs=0.3)
    for method in ("mse", "entropy"):
        assert found[method].high < 36
        assert found[method].low > -27

    def error(interval: Range) -> float:
        scale, zero = interval.grid("uint8")
        steps = np.clip(np.round(values / scale) + int(zero), 0, 255)
        return float((((steps - int(zero)) * scale - values) ** 2).mean())

    assert error(found["mse"]) == min(error(interval) for interval in found.values())
    symmetric = choose_range(entry, "mse", symmetric=True)
    assert symmetric.high / 40 == pytest.approx(symmetric.low / -30)


def test_values_without_outliers_are_not_clipped() -> None:
    entry = statistics_of(np.random.default_rng(0).uniform(0, 1, 100_000))
    assert choose_range(entry, "mse").high == pytest.approx(1, abs=0.03)
    assert choose_range(entry, "mse").low == 0
    with pytest.raises(UserError, match="no calibration method named 'mean'"):
        choose_range(entry, "mean")  # type: ignore[arg-type]


@pytest.mark.parametrize("enough", range(6))
def test_fewest_layers_are_spared(enough: int) -> None:
    costs = [Cost(f"layer{n}", 10.0 - n) for n in range(6)]
    tried: list[int] = []

    def drop(spared: list[str]) -> float:
        tried.append(len(spared))
        return 0.05 if len(spared) >= enough else 0.06

    answer = spare_fewest(costs, drop, 0.05, most=5)
    assert answer == ([f"layer{n}" for n in range(enough)], 0.05)
    assert len(tried) <= 4
    assert spare_fewest(costs, lambda spared: 1.0, 0.05, most=5) is None
