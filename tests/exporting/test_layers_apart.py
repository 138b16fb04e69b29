"""Layers by name, inside torch and inside ONNX, and where two versions part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from srdeploy.benchmarking.deciding.compare import (
    Comparison,
    OutputDifference,
    compare_layers,
    psnr_drop,
)
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.showing.compare_table import parity_lines
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.coreml.export import export_coreml
from srdeploy.exporting.layer_differences import compare_layer, find_layer_differences
from srdeploy.exporting.layers import activations_of, module_of, onnx_activations, torch_activations
from srdeploy.exporting.onnx.export import check_parity, export_onnx
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
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
    x = photograph(network.card, (12, 16))
    own = activations_of(str(files / "net.safetensors"), x)
    exported = onnx_activations(files / "net.onnx", x)
    assert next(iter(own)) == "sub_mean"
    assert set(own) <= set(exported) | {"tail.1"}
    assert {"head.0", "body.0.body.0", "body.1", "tail.0"} <= set(own) & set(exported)
    found = find_layer_differences(own, exported)
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
    told = parity_lines(_two(OutputDifference(3.0, 40.0, 0.125, found)))
    assert told[0] == "b against a:"
    assert "at most 3 of 255 levels apart, PSNR 40.0 dB" in told[1]
    assert "0.125 dB lost" in told[2]
    assert "first apart at body.1" in told[3]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network and its packages: float32, of a copy with one layer spoilt, float16, images."""
    folder = tmp_path_factory.mktemp("packages")
    network = packed()
    save_network(network, folder / "net.safetensors")
    export_onnx(network, folder / "net.onnx", check=False)
    export_coreml(network, folder / "net.mlpackage", sizes="24x24")
    export_coreml(network, folder / "half.mlpackage", precision="fp16", sizes="24x24")
    export_coreml(network, folder / "images.mlpackage", sizes="24x24", images=True)
    spoilt = network.copy()
    with torch.no_grad():
        spoilt.module.get_submodule("body.0.body.2").weight.add_(0.05)
    export_coreml(spoilt, folder / "spoilt.mlpackage", sizes="24x24")
    return folder


def packed() -> Network:
    torch.manual_seed(0)
    return create("ledsr", scale=2, n_blocks=2, n_feats=8)


def test_a_package_shows_its_layers(packages: Path) -> None:
    network = packed()
    x = photograph(network.card, (24, 24))
    own = torch_activations(network, x)
    inside = activations_of(str(packages / "net.mlpackage"), x)
    convolutions = [n for n, m in network.module.named_modules() if isinstance(m, nn.Conv2d)]
    assert set(convolutions) <= set(inside) & set(own)
    for name in convolutions:
        np.testing.assert_allclose(inside[name], own[name], atol=1e-2 * np.abs(own[name]).max())
    found = find_layer_differences(own, inside)
    assert found.first is None
    assert [gap.layer for gap in found.layers] == convolutions_in_order(own, convolutions)


def convolutions_in_order(own: dict[str, np.ndarray], names: list[str]) -> list[str]:
    return [name for name in own if name in names]


@pytest.mark.parametrize("reference", ["net.safetensors", "net.onnx", "net.mlpackage"])
def test_a_spoilt_layer_inside_a_package_is_named(packages: Path, reference: str) -> None:
    lr = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    found = compare_layers(str(packages / reference), str(packages / "spoilt.mlpackage"), lr, 2, {})
    assert found.first is not None
    assert found.worst is not None
    assert found.first.layer == found.worst.layer == "body.0.body.2"
    assert all(gap.relative < 1e-5 for gap in found.layers[: found.layers.index(found.first)])


def test_a_half_precision_package_parts_by_rounding_alone(packages: Path) -> None:
    lr = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    found = compare_layers(
        str(packages / "net.safetensors"), str(packages / "half.mlpackage"), lr, 2, {}
    )
    assert found.first is not None  # float16 is not float32
    assert found.note is None
    assert all(gap.relative < 1e-2 and gap.snr_db > 45 for gap in found.layers)
    assert found.layers[0].factor == pytest.approx(255, rel=1e-2)  # the range is folded away


def test_one_half_precision_layer_inside_a_package_is_named(tmp_path: Path) -> None:
    """Its weights went through float16 where float16 has few digits left; all others are exact."""
    network = packed()
    x = photograph(network.card, (24, 24))
    own = torch_activations(network, x)
    rough = network.copy()
    with torch.no_grad():
        weight = rough.module.get_submodule("body.1.body.0").weight
        weight.copy_(((weight * 1e-6).half().float()) * 1e6)
    export_coreml(rough, tmp_path / "rough.mlpackage", sizes="24x24")
    found = find_layer_differences(own, activations_of(str(tmp_path / "rough.mlpackage"), x))
    assert found.first is not None
    assert found.first.layer == "body.1.body.0"


def test_packages_of_one_network_match_in_every_result(packages: Path) -> None:
    x = photograph(packed().card, (24, 24))
    full = activations_of(str(packages / "net.mlpackage"), x)
    half = activations_of(str(packages / "half.mlpackage"), x)
    assert set(full) == set(half)  # sums and ReLUs too
    assert find_layer_differences(full, half).unmatched == 0
    images = activations_of(str(packages / "images.mlpackage"), np.rint(x))
    assert {"head.0", "body.1.body.2", "tail.0"} <= set(images)


def test_an_export_that_fails_its_parity_names_the_layer(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = packed()
    model = onnx.load(packages / "net.onnx")
    (weight,) = (t for t in model.graph.initializer if t.name == "body.1.body.0.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + 0.1, weight.name))
    onnx.save(model, tmp_path / "spoilt.onnx")
    with pytest.raises(SrdeployError, match=r"from torch .*; they part at body\.1\.body\.0"):
        check_parity(network, tmp_path / "spoilt.onnx")
    import srdeploy.exporting.coreml.export as stage

    def spoiling(network: Network, *options: object) -> object:
        spoilt = network.copy()
        with torch.no_grad():
            spoilt.module.get_submodule("body.0.body.2").weight.add_(0.05)
        return convert(spoilt, *options)

    convert = stage.convert
    monkeypatch.setattr(stage, "convert", spoiling)
    with pytest.raises(SrdeployError, match=r"; they part at body\.0\.body\.2; report this"):
        export_coreml(network, tmp_path / "net.mlpackage", sizes="24x24")
    assert not (tmp_path / "net.mlpackage").exists()


def test_a_folded_factor_is_no_divergence() -> None:
    a = np.random.default_rng(0).normal(size=(1, 2, 5, 5)).astype(np.float32)
    gap = compare_layer("x", a, a / 255)
    assert gap.factor == pytest.approx(255)
    assert gap.relative < 1e-6
    assert compare_layer("x", a, -a).relative > 1
    assert compare_layer("x", a, np.full_like(a, np.nan)).relative != 0


def test_nothing_to_match_is_said(files: Path) -> None:
    a = {"one": np.ones((1, 1, 2, 2), np.float32)}
    found = find_layer_differences(a, {"two": a["one"]})
    assert found.note is not None
    assert "no layer can be matched" in found.note
    lr = np.zeros((20, 20, 3), np.uint8)
    packed = compare_layers(str(files / "net.onnx"), str(files / "net.tflite"), lr, 3, {})
    assert packed.note
    with pytest.raises(UserError, match="shows nothing of its layers"):
        activations_of("net.engine", photograph(create("ledsr").card, (4, 4)))


def _row(name: str, **figures: object) -> Row:
    return Row(artifact=name, scenario={}, machine={}, scale=2, **figures)  # type: ignore[arg-type]


def _two(parity: OutputDifference) -> Comparison:
    return Comparison([_row("a"), _row("b")], [None, parity])


def test_psnr_drop_wants_one_protocol() -> None:
    a, b = _row("a", psnr_y=30.0, protocol="p"), _row("b", psnr_y=29.5, protocol="p")
    assert psnr_drop(a, b) == 0.5
    assert psnr_drop(a, _row("c", psnr_y=29.0, protocol="q")) is None
    assert psnr_drop(_row("d"), b) is None
