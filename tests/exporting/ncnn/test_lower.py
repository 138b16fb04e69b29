"""What pnnx cannot convert by itself: sizes of other tensors, groups, comparisons, odd windows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.exporting.probe import run_torch
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES

if not (can := RUNTIMES["ncnn"].availability()):
    pytest.skip(can.reason, allow_module_level=True)

from srdeploy.exporting.ncnn.export import export_ncnn
from srdeploy.exporting.ncnn.lower import lower_for_pnnx
from srdeploy.exporting.onnx.export import export_onnx


class AllOfThem(nn.Module):
    """Normalised groups, a coarse grid laid over the image three ways, and cropped masks."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.coarse = nn.Conv2d(8, 8, 3, stride=2)
        self.wide = nn.ConvTranspose2d(8, 2, 3, stride=2, padding=1, output_padding=1)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.head(x))
        size = x.shape[2:]
        grid = functional.max_pool2d(self.coarse(x), 5, stride=3)
        for mode in ("nearest", "bilinear", "bicubic"):
            corners = None if mode == "nearest" else False
            x = x + functional.interpolate(grid, size=size, mode=mode, align_corners=corners)
        small = functional.avg_pool2d(x, 2, ceil_mode=True)
        logits = self.wide(small)[:, :, : size[0], : size[1]]
        mask = (logits[:, :1] > logits[:, 1:]).float()
        below = (logits[:, :1] < 0.1).float()
        return functional.pixel_shuffle(self.tail(x * mask + 0.5 * below), 2)


def _network(kind: type[nn.Module] = AllOfThem) -> Network:
    torch.manual_seed(0)
    card = Card(arch="test", scale=2, scales=(2,), channels=3, config={}, value_range=1.0)
    return Network(kind().eval(), card)


def test_any_size_and_each_operation(tmp_path: Path) -> None:
    network = _network()
    report = export_ncnn(network, tmp_path / "net.param")
    kinds = report.operators
    assert kinds["Interp"] == 3
    assert not any("." in kind for kind in kinds)
    with open_session(tmp_path / "net.param") as session:
        for size in ((31, 26), (24, 33), (50, 17)):
            x = photograph(network.card, size)
            assert np.abs(session.run(x) - run_torch(network, x)).max() < 1e-4


@pytest.mark.parametrize("widths", [(8, 0), (4, 2, 2)])
def test_parts_that_are_empty_or_that_nobody_reads(widths: tuple[int, ...], tmp_path: Path) -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 8, 3, padding=1)
            self.tail = nn.Conv2d(widths[0] + widths[-1], 12, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            first, *_, last = torch.split(self.head(x), widths, dim=1)
            return functional.pixel_shuffle(self.tail(torch.cat([first, last], 1)), 2)

    operators = export_ncnn(_network(Ends), tmp_path / "net.param").operators
    assert ("Concat" in operators) == (widths[-1] > 0)


def test_nodes_need_no_names(tmp_path: Path) -> None:
    export_onnx(_network(), tmp_path / "net.onnx", check=False)
    model = onnx.load(str(tmp_path / "net.onnx"))
    named = Counter(node.op_type for node in lower_for_pnnx(model).graph.node)
    for node in model.graph.node:
        node.name = ""
    assert Counter(node.op_type for node in lower_for_pnnx(model).graph.node) == named
    assert (named["Max"], named["Min"], named["Pow"]) == (1, 1, 3)
    assert not {"Shape", "Resize", "InstanceNormalization", "Greater", "Less"} & named.keys()


def test_what_looks_alike_stays() -> None:
    """Groups that are not put together again, and a comparison of which whole numbers become."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 4, H, W] x) => (float[1, 2, N] y, int64[1, 4, H, W] z)
    <float[2] one = {1, 1}, float[2] none = {0, 0}, float[1] half = {0.5},
     int64[3] groups = {0, 2, -1}>
    {
        a = Reshape (x, groups)
        b = InstanceNormalization (a, one, none)
        y = Reshape (b, groups)
        c = Greater (x, half)
        z = Cast <to = 7> (c)
    }"""
    model = onnx.parser.parse_model(text)
    kinds = [node.op_type for node in lower_for_pnnx(model).graph.node]
    assert kinds == [node.op_type for node in model.graph.node]


def test_a_network_that_cannot_run_at_the_examples_stays() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 3, H, W] x) => (float[1, 3, P, Q] y)
    <int64[4] fixed = {1, 3, 30, 30}, int64[2] head = {1, 3},
     int64[1] two = {2}, int64[1] far = {9}>
    {
        a = Reshape (x, fixed)
        s = Shape (x)
        t = Slice (s, two, far)
        u = Concat <axis = 0> (head, t)
        y = Resize <mode = "nearest"> (a, , , u)
    }"""
    model = onnx.parser.parse_model(text)
    kinds = [node.op_type for node in lower_for_pnnx(model).graph.node]
    assert kinds == [node.op_type for node in model.graph.node]
