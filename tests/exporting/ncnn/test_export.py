"""Networks into ncnn's format, as Vulkan applications open them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.ncnn.pair import read_pair
from srdeploy.runtime.table import RUNTIMES

if not (can := RUNTIMES["ncnn"].availability()):
    pytest.skip(can.reason, allow_module_level=True)

from srdeploy.exporting.ncnn.export import convert_onnx_to_ncnn, export_ncnn
from srdeploy.exporting.onnx.export import export_onnx


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
    report = convert_onnx_to_ncnn(onnx, tmp_path / "net.param")
    assert any("pixels run to 255" in note for note in report.notes)
    pair = read_pair(tmp_path / "net.param")
    assert pair.card is not None
    assert pair.card.value_range == 255
    export_onnx(_edsr(), onnx, check=False, precision="fp16")
    with pytest.raises(UserError, match="made from float32"):
        convert_onnx_to_ncnn(onnx, tmp_path / "half.param")
    assert not (tmp_path / "half.param").exists()


class _Foreign(nn.Module):
    """With an operation that ncnn does not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x), s=x.shape[-2:])


def test_what_ncnn_does_not_have_is_named(tmp_path: Path) -> None:
    card = Card(arch="x.y:z", scale=1, scales=(1,), channels=3, value_range=1.0, luma_only=False)
    with pytest.raises(SrdeployError):
        export_ncnn(Network(_Foreign().eval(), card), tmp_path / "net.param")
    assert not list(tmp_path.iterdir())
