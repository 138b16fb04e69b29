"""Networks into ncnn's format, as Vulkan applications open them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.probe import run_torch
from srdeploy.exporting.range_folding import change_range
from srdeploy.exporting.report import ExportReport
from srdeploy.models.card import Card
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.models.registry import ARCHITECTURES, create
from srdeploy.runtime.ncnn.pair import read_pair
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES
from srdeploy.testing.architectures import SMALL as CONFIGS
from srdeploy.testing.architectures import small_network

if not (can := RUNTIMES["ncnn"].availability()):
    pytest.skip(can.reason, allow_module_level=True)

from srdeploy.exporting.ncnn.export import export_ncnn
from srdeploy.exporting.ncnn.lower import lower_for_pnnx
from srdeploy.exporting.onnx.export import export_onnx

SMALL: dict[str, dict[str, Any]] = {
    "edsr": {"scale": 2, "n_blocks": 2, "n_feats": 16},
    "vdsr": {"n_layers": 4, "n_feats": 16},
    "srvggnet": {"scale": 2, "n_layers": 2, "n_feats": 16},
}


def _edsr() -> Network:
    return create("edsr", scale=2, n_blocks=1, n_feats=8)


def test_applications_find_the_ends_and_the_range_that_they_feed(tmp_path: Path) -> None:
    network = _edsr()
    assert network.card.value_range == 255
    report = export_ncnn(network, tmp_path / "net.param")
    lines = (tmp_path / "net.param").read_text().splitlines()
    assert lines[0] == "7767517"
    assert lines[2].split()[0] == "Input"
    assert lines[2].split()[-1] == "data"
    assert " output " in lines[-1]
    pair = read_pair(tmp_path / "net.param")
    assert pair.card is not None
    assert pair.card.value_range == 1
    assert not report.notes
    assert report.operators["PixelShuffle"] == 1
    assert {file.name for file in tmp_path.iterdir()} == {"net.param", "net.bin", "net.param.json"}
    again = export_ncnn(network, tmp_path / "net.param")
    assert again.sha256 == report.sha256


def test_weights_in_16_bits_take_half(tmp_path: Path) -> None:
    network = create("edsr", scale=2, n_blocks=2, n_feats=32)
    export_ncnn(network, tmp_path / "whole.param")
    report = export_ncnn(network, tmp_path / "half.param", precision="fp16")
    whole, half = ((tmp_path / f"{name}.bin").stat().st_size for name in ("whole", "half"))
    assert half < 0.55 * whole
    assert report.precision == "fp16"
    assert report.parity is not None
    assert report.parity.relative < 1e-2


@pytest.mark.parametrize("name", SMALL)
def test_weights_in_8_bits(name: str, tmp_path: Path, small_builtin: None) -> None:
    """What ncnn computes is what the scales in its file say, computed here by hand."""
    torch.manual_seed(0)
    network = create(name, **SMALL[name])
    report = export_ncnn(network, tmp_path / "net.param", precision="int8")
    export_ncnn(network, tmp_path / "whole.param")
    eight, whole = ((tmp_path / f"{n}.bin").stat().st_size for n in ("net", "whole"))
    assert eight < 0.6 * whole
    assert {layer["precision"] for layer in report.layers} == {"int8"}
    assert f"{len(report.layers)} of " in report.notes[0]
    assert report.quality is not None
    check_rounding(change_range(network, 1.0).network, report)


@pytest.mark.parametrize("name", ["span", pytest.param("realplksr", marks=pytest.mark.slow)])
def test_8_bits_beside_stored_tensors_and_products(
    name: str, tmp_path: Path, small_builtin: None
) -> None:
    """A mean that ncnn stores as a tensor; convolutions of one pixel, which it has as products."""
    network = small_network(ARCHITECTURES[name], CONFIGS.get(name, {}), width=16, scale=2)
    report = export_ncnn(network, tmp_path / "net.param", precision="int8")
    kinds = {"span": "MemoryData", "realplksr": "InnerProduct"}
    assert kinds[name] in report.operators
    assert {layer["precision"] for layer in report.layers} == {"int8"}
    assert report.quality is not None
    assert abs(report.quality["drop"]) < 0.1
    check_rounding(change_range(network, 1.0).network, report)


def check_rounding(inner: Network, report: ExportReport) -> None:
    """What the file computes is the network with each layer told rounded by hand."""
    with open_session(report.path) as session:
        assert session.precision == "int8"
        x = photograph(session.card, (24, 32))
        found = session.run(x)
    rounded = rounded_by_hand(inner, {one["layer"]: one for one in report.layers})
    exact = run_torch(inner, x)
    assert np.abs(found - run_torch(rounded, x)).max() < 0.1 * np.abs(found - exact).max() + 1e-5


def rounded_by_hand(network: Network, layers: dict[str, dict[str, Any]]) -> Network:
    """The network with weights and inputs of some layers on their 8-bit grids, in float32."""
    copy = network.copy()
    for name, module in copy.module.named_modules():
        if isinstance(module, nn.Conv2d) and name in layers:
            scale = module.weight.detach().abs().amax((1, 2, 3), keepdim=True) / 127
            module.weight.data = (module.weight.data / scale).round() * scale
            step = max(-layers[name]["low"], layers[name]["high"]) / 127
            module.register_forward_pre_hook(
                lambda _, given, step=step: ((given[0] / step).round().clamp(-127, 127) * step,)
            )
    return copy


def test_a_loss_above_the_limit_is_refused(tmp_path: Path, small_builtin: None) -> None:
    with pytest.raises(SrdeployError, match=r"In int8 the ncnn network loses .*--max-drop"):
        export_ncnn(
            load_network("edsr-s-x3-p30"), tmp_path / "net.param", precision="int8", max_drop=1e-6
        )
    with pytest.raises(UserError, match="another precision than fp32"):
        export_ncnn(_edsr(), tmp_path / "net.param", max_drop=0.1)


def test_a_precision_that_is_too_coarse_is_told_from_a_fault(
    tmp_path: Path, small_builtin: None
) -> None:
    torch.manual_seed(1)
    network = create("vdsr", n_layers=4, n_feats=8)
    layers = [one for one in network.module.modules() if isinstance(one, nn.Conv2d)]
    with torch.no_grad():  # a channel that nobody reads takes the range of all others
        layers[1].weight[0] *= 1e4
        layers[2].weight[:, 0] = 0
        layers[-1].weight *= 100
    with pytest.raises(SrdeployError, match=r"in fp32 they agree, so int8 is too coarse"):
        export_ncnn(network, tmp_path / "net.param", precision="int8")


def test_other_names_for_the_ends(tmp_path: Path) -> None:
    export_ncnn(_edsr(), tmp_path / "net.param", blobs="in0,out0")
    pair = read_pair(tmp_path / "net.param")
    assert (pair.input, pair.output) == ("in0", "out0")
    for wrong in ("data", "data,", "a,a", "a b,c", "ä,c", "a,b,c"):
        with pytest.raises(UserError, match="--blobs are two names"):
            export_ncnn(_edsr(), tmp_path / "net.param", blobs=wrong)


def test_an_onnx_file_keeps_its_range(tmp_path: Path) -> None:
    onnx = tmp_path / "net.onnx"
    export_onnx(_edsr(), onnx, check=False)
    report = export_ncnn(onnx, tmp_path / "net.param")
    assert any("pixels run to 255" in note for note in report.notes)
    pair = read_pair(tmp_path / "net.param")
    assert pair.card is not None
    assert pair.card.value_range == 255
    export_onnx(_edsr(), onnx, check=False, precision="fp16")
    with pytest.raises(UserError, match="made from float32"):
        export_ncnn(onnx, tmp_path / "half.param")
    assert not (tmp_path / "half.param").exists()


class _OneSize(nn.Module):
    """Its pooling has windows of one size, so that a file of it takes no other."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        coarse = nn.functional.adaptive_avg_pool2d(x, 4)
        grown = nn.functional.interpolate(coarse, size=x.shape[2:], mode="nearest")
        return nn.functional.pixel_shuffle(self.tail(x + grown), 2)


@pytest.mark.parametrize("by_file", [False, True])
def test_a_network_of_one_size_says_so_and_refuses_others(by_file: bool, tmp_path: Path) -> None:
    card = Card(arch="x.y:z", scale=2, scales=(2,), channels=3, value_range=1.0, luma_only=False)
    network: Any = Network(_OneSize().eval(), card)
    if by_file:
        export_onnx(network, tmp_path / "net.onnx", sizes="48x32", check=False)
        network = tmp_path / "net.onnx"
    report = export_ncnn(network, tmp_path / "net.param")
    size = "48x32" if by_file else "256x256"
    assert any(note.startswith(f"takes {size} only") for note in report.notes)
    with open_session(tmp_path / "net.param") as session:
        assert str(session.sizes) == size
        with pytest.raises(UserError, match=f"takes {size} only, not 32x24"):
            session.run(np.zeros((1, 3, 24, 32), np.float32))


def test_a_graph_is_lowered_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_builtin: None
) -> None:
    lowered: list[Any] = []

    def lower(model: Any) -> Any:
        lowered.append(lower_for_pnnx(model))
        return lowered[-1]

    monkeypatch.setattr("srdeploy.exporting.ncnn.convert.lower_for_pnnx", lower)
    report = export_ncnn(create("vdsr", **SMALL["vdsr"]), tmp_path / "net.param", precision="int8")
    assert report.layers
    assert len(lowered) == 1


class _Foreign(nn.Module):
    """With an operation that ncnn does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x > 0.5, x, x * 0.5)


def test_what_ncnn_does_not_have_is_named(tmp_path: Path) -> None:
    card = Card(arch="x.y:z", scale=1, scales=(1,), channels=3, value_range=1.0, luma_only=False)
    with pytest.raises(UserError, match=r"has no .*torch\.where"):
        export_ncnn(Network(_Foreign().eval(), card), tmp_path / "net.param")
    assert not list(tmp_path.iterdir())
