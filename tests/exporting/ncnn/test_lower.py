"""What pnnx cannot convert by itself: sizes of other tensors, groups, comparisons, odd windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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


def test_any_size_and_each_operation(tmp_path: Path) -> None:
    torch.manual_seed(0)
    card = Card(arch="test", scale=2, scales=(2,), channels=3, config={}, value_range=1.0)
    network = Network(AllOfThem().eval(), card)
    report = export_ncnn(network, tmp_path / "net.param")
    kinds = report.operators
    assert kinds["Interp"] == 3
    assert not any("." in kind for kind in kinds)
    with open_session(tmp_path / "net.param") as session:
        for size in ((31, 26), (24, 33), (50, 17)):
            x = photograph(card, size)
            assert np.abs(session.run(x) - run_torch(network, x)).max() < 1e-4
