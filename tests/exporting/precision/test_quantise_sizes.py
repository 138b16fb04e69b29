"""Who asks for sizes, and whom: what an 8-bit convolution made has no second reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES


class Cropped(nn.Module):
    """Cuts back to the size of what an 8-bit convolution with large biases made."""

    def __init__(self, stride: int = 1, channels_too: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head, self.first, self.second, self.third, self.tail = (
            nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 8), (8, 8), (8, 8), (8, 8), (8, 12))
        )
        self.head.stride = (stride, stride)
        self.channels_too = channels_too
        with torch.no_grad():
            self.first.bias.copy_(torch.linspace(-40, 40, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.head(x))
        z = self.second(nn.functional.pad(y, (0, 1, 0, 1)))
        if self.channels_too:
            z = z[:, : y.shape[1], : y.shape[2], : y.shape[3]]
        z = z[..., : y.shape[-2], : y.shape[-1]]
        z = nn.functional.pixel_shuffle(self.tail(self.third(torch.relu(z)) + y), 2)
        image = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return image + 0.01 * nn.functional.interpolate(z, size=image.shape[2:], mode="nearest")


def network(stride: int = 1) -> Network:
    card = Card(
        arch="tests:own", scale=2, scales=(2,), channels=3, value_range=255.0, size_multiple=stride
    )
    return Network(Cropped(stride).eval(), card)


def asked(path: Path) -> set[str]:
    """The tensors whose sizes the graph asks for."""
    return {node.input[0] for node in onnx.load(path).graph.node if node.op_type == "Shape"}


def test_the_image_is_asked_for_its_size(tmp_path: Path) -> None:
    export_onnx(network(), tmp_path / "net.onnx")
    assert "/first/Conv_output_0" in asked(tmp_path / "net.onnx")
    export_onnx(network(), tmp_path / "net8.onnx", precision="int8")
    after_the_tail = {"/DepthToSpace_output_0", "/Resize_output_0"}  # as large as what comes out
    assert asked(tmp_path / "net8.onnx") - after_the_tail == {"lr"}


def test_a_tensor_of_another_size_is_asked_itself(tmp_path: Path) -> None:
    export_onnx(network(stride=2), tmp_path / "net8.onnx", precision="int8")
    assert any("first" in name for name in asked(tmp_path / "net8.onnx"))


@pytest.mark.skipif(not RUNTIMES["openvino"].availability(), reason="needs OpenVINO")
def test_openvino_gives_every_channel_its_own_bias(tmp_path: Path) -> None:
    file = tmp_path / "net8.onnx"
    report = export_onnx(network(), file, precision="int8")
    assert report.quality is not None
    found = report.quality["runtimes"]
    assert found["openvino"] == pytest.approx(found["onnxruntime"], abs=1e-3)
    x = np.random.default_rng(0).uniform(0, 255, (1, 3, 24, 32)).astype(np.float32)
    answers = []
    for runtime in ("onnxruntime", "openvino"):
        with open_session(file, runtime=runtime, threads=1) as session:
            answers.append(session.run(x))
    assert np.abs(answers[0] - answers[1]).max() < 0.05  # with the first one's bias it is 1.5
