"""Layers by name, inside torch and inside ONNX, and where two versions part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from srdeploy.bench.compare import Comparison, Parity, compare_layers, psnr_drop
from srdeploy.bench.compare_table import parity_lines
from srdeploy.bench.diverge import compare_layer, find_divergence
from srdeploy.bench.layers import activations_of, module_of, onnx_activations, torch_activations
from srdeploy.bench.row import Row
from srdeploy.errors import UserError
from srdeploy.export.onnx import export_onnx
from srdeploy.export.probe import probe_input
from srdeploy.models.registry import create
from srdeploy.models.store import save_network


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("/body/body.0/body/body.2/Conv", "body.0.body.2"),
        ("/tail/tail.0/tail.0.0/Conv", "tail.0.0"),
        ("/residual_layer.0/conv/Conv", "residual_layer.0.conv"),
        ("/sub_mean/Conv", "sub_mean"),
        ("/Add", None),
        ("node_conv2d_3", None),
    ],
)
def test_a_node_tells_its_module(node: str, module: str | None) -> None:
    assert module_of(node) == module


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, its ONNX, and that ONNX with the weights of body.1 spoilt."""
    folder = tmp_path_factory.mktemp("layers")
    network = create("ledsr", scale=3, n_blocks=1, n_feats=4)
    save_network(network, folder / "net.safetensors")
    export_onnx(network, folder / "net.onnx", check=False)
    model = onnx.load(folder / "net.onnx")
    (weight,) = (t for t in model.graph.initializer if t.name == "body.1.weight")
    spoilt = numpy_helper.to_array(weight) + 0.1
    weight.CopyFrom(numpy_helper.from_array(spoilt, weight.name))
    onnx.save(model, folder / "spoilt.onnx")
    return folder


def test_network_and_onnx_match_by_name(files: Path) -> None:
    network = create("ledsr", scale=3, n_blocks=1, n_feats=4)
    x = probe_input(network.card, (12, 16))
    own = activations_of(str(files / "net.safetensors"), x)
    exported = onnx_activations(files / "net.onnx", x)
    assert next(iter(own)) == "sub_mean"
    assert set(own) <= set(exported) | {"tail.1"}
    assert {"head.0", "body.0.body.0", "body.1", "tail.0"} <= set(own) & set(exported)
    found = find_divergence(own, exported)
    assert found.first is None
    assert all(gap.relative < 1e-5 and gap.factor == 1 for gap in found.layers)
    assert "body.0.body.0" in torch_activations(network, x)


@pytest.mark.parametrize("reference", ["net.onnx", "net.safetensors"])
def test_the_first_layer_apart_is_named(files: Path, reference: str) -> None:
    lr = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    found = compare_layers(str(files / reference), str(files / "spoilt.onnx"), lr, 3, {})
    assert found.first is not None
    assert found.first.layer == "body.1"
    before = [gap for gap in found.layers if gap.layer.startswith(("head", "body.0"))]
    assert before
    assert all(gap.relative < 1e-5 for gap in before)
    told = parity_lines(_two(Parity(3.0, 40.0, 0.125, found)))
    assert told[0] == "b against a:"
    assert "at most 3 of 255 levels apart, PSNR 40.0 dB" in told[1]
    assert "0.125 dB lost" in told[2]
    assert "first apart at body.1" in told[3]


def test_a_folded_factor_is_no_divergence() -> None:
    a = np.random.default_rng(0).normal(size=(1, 2, 5, 5)).astype(np.float32)
    gap = compare_layer("x", a, a / 255)
    assert gap.factor == pytest.approx(255)
    assert gap.relative < 1e-6
    assert compare_layer("x", a, -a).relative > 1
    assert compare_layer("x", a, np.full_like(a, np.nan)).relative != 0


def test_nothing_to_match_is_said(files: Path) -> None:
    a = {"one": np.ones((1, 1, 2, 2), np.float32)}
    found = find_divergence(a, {"two": a["one"]})
    assert found.note is not None
    assert "no layer can be matched" in found.note
    lr = np.zeros((20, 20, 3), np.uint8)
    packed = compare_layers(str(files / "net.onnx"), str(files / "net.tflite"), lr, 3, {})
    assert packed.note
    with pytest.raises(UserError, match="shows nothing of its layers"):
        activations_of("net.engine", probe_input(create("ledsr").card, (4, 4)))


def _row(name: str, **figures: object) -> Row:
    return Row(artifact=name, scenario={}, machine={}, scale=2, **figures)  # type: ignore[arg-type]


def _two(parity: Parity) -> Comparison:
    return Comparison([_row("a"), _row("b")], [None, parity])


def test_psnr_drop_wants_one_protocol() -> None:
    a, b = _row("a", psnr_y=30.0, protocol="p"), _row("b", psnr_y=29.5, protocol="p")
    assert psnr_drop(a, b) == 0.5
    assert psnr_drop(a, _row("c", psnr_y=29.0, protocol="q")) is None
    assert psnr_drop(_row("d"), b) is None
