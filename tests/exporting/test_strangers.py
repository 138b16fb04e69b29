"""What other people's networks do that formats have no word for: exported by default options.

Each class of operation is one small module. The ONNX file is compared in onnxruntime and the
Core ML package in srdeploy's interpreter, both by the export itself; here at sizes of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srdeploy.errors import SrdeployError
from srdeploy.exporting import fallback
from srdeploy.exporting.run import export
from srdeploy.models.probes import photograph, run
from srdeploy.runtime.open import open_session
from srdeploy.runtime.sizes import InputSizes
from tests.exporting.fickle import Plain, network

FIXED = InputSizes(((64, 64),))
ANY = None
RANGE = InputSizes(low=(16, 16), high=(2048, 2048))


class Attention(Plain):
    """A map of a few pixels, enlarged to the size of another tensor (ESA of RFDN)."""

    mode = "bilinear"

    def forward(self, x: Tensor) -> Tensor:
        small = F.max_pool2d(x, 7, 3)
        aligned = {} if self.mode == "nearest" else {"align_corners": False}
        back = F.interpolate(small, (x.size(2), x.size(3)), mode=self.mode, **aligned)
        return super().forward(x * back)


class Nearest(Attention):
    mode = "nearest"


class Bicubic(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + F.interpolate(x, scale_factor=2, mode="bicubic")


class Corners(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + F.interpolate(
            x, scale_factor=2, mode="bicubic", align_corners=True
        )


class Pooled(Plain):
    """Adaptive pooling to a share of the size (SAFMN)."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        small = F.adaptive_max_pool2d(x, (height // 3, width // 3))
        return super().forward(x * F.interpolate(small, (height, width), mode="nearest"))


class Padded(Plain):
    """Padding to a multiple of 8, by as much as the size wants."""

    mode = "reflect"
    value: float | None = None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        whole = F.pad(x, (0, -width % 8, 0, -height % 8), self.mode, self.value)
        back = F.interpolate(F.avg_pool2d(whole, 8), scale_factor=8)
        return super().forward(x * back[..., :height, :width])


class Replicated(Padded):
    mode = "replicate"


class Valued(Padded):
    mode, value = "constant", 0.5


class Cropped(Plain):
    """Padding by less than nothing (Real-CUGAN)."""

    def forward(self, x: Tensor) -> Tensor:
        wide = F.pad(x, (3, 3, 3, 3), mode="reflect")
        return super().forward(F.pad(wide, (-1, -5, -3, -3)) + F.pad(x, (2, -2, 0, 0)))


class Detached(Plain):
    """Sizes are asked of `.data`, and become constants on the way to Core ML (RFESR)."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.data.size()
        parted = x.view(n, 1, c, height, width).transpose(1, 2)
        return super().forward(parted.reshape(n, c, height, width))


class Unfolded(Plain):
    """Neighbourhoods as columns, and their mean."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        columns = F.unfold(x, 3, padding=1).view(n, c, 9, height, width)
        return super().forward(columns.mean(2))


class Windows(Plain):
    """Attention within windows: padding to whole ones, a shift, and a mask made for the size."""

    side = 8

    def forward(self, x: Tensor) -> Tensor:
        _, c, height, width = x.shape
        down, right = -height % self.side, -width % self.side
        padded = F.pad(x, (0, right, 0, down), mode="reflect")
        tall, wide = padded.shape[-2:]
        rows, columns = torch.arange(tall) // self.side, torch.arange(wide) // self.side
        mask = ((rows[:, None] + columns) % 2).float()
        rolled = torch.roll(padded, (-4, -4), (2, 3)) * mask
        windows = rolled.view(-1, c, tall // self.side, self.side, wide // self.side, self.side)
        flat = windows.permute(0, 2, 4, 3, 5, 1).reshape(-1, self.side**2, c)
        mixed = (flat @ flat.transpose(1, 2)).softmax(-1) @ flat
        back = mixed.view(-1, tall // self.side, wide // self.side, self.side, self.side, c)
        image = back.permute(0, 5, 1, 3, 2, 4).reshape(-1, c, tall, wide)
        whole = torch.roll(image, (4, 4), (2, 3))[..., :height, :width]
        return super().forward(x + whole)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "ONE_SIZE", FIXED.listed[0])


CASES: list[tuple[type[Plain], Any, Any]] = [
    (Attention, ANY, RANGE),
    (Nearest, ANY, RANGE),
    (Bicubic, ANY, RANGE),
    (Corners, ANY, FIXED),
    (Pooled, FIXED, FIXED),
    (Padded, ANY, RANGE),
    (Replicated, ANY, RANGE),
    (Valued, ANY, RANGE),
    (Cropped, ANY, RANGE),
    (Detached, ANY, FIXED),
    (Unfolded, ANY, RANGE),
    (Windows, ANY, FIXED),
]


@pytest.mark.parametrize(("kind", "onnx_sizes", "coreml_sizes"), CASES)
@pytest.mark.parametrize("target", ["onnx", "coreml"])
def test_by_default_options(
    kind: type[Plain], target: str, onnx_sizes: Any, coreml_sizes: Any, tmp_path: Path
) -> None:
    if target == "coreml":
        pytest.importorskip("coremltools")
    net = network(kind())
    path = tmp_path / ("net.onnx" if target == "onnx" else "net.mlpackage")
    report = export(net, target, path)
    expected = onnx_sizes if target == "onnx" else coreml_sizes
    with open_session(path) as session:
        assert session.sizes == expected
        x = photograph(net.card, FIXED.listed[0] if expected == FIXED else (50, 43), 2)[1:]
        found = session.run(x)
    exact = run(net.module.double(), torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-5)
    told = [note for note in report.notes if note.startswith("one input size, 64x64")]
    assert len(told) == (expected == FIXED)


@pytest.mark.parametrize("kind", [Attention, Pooled, Windows])
def test_one_size_in_half_precision_for_an_older_system(kind: type[Plain], tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    options = {"precision": "fp16", "sizes": "43x50", "minimum_deployment": "iOS15"}
    net = network(kind())
    export(net, "coreml", tmp_path / "net.mlpackage", **options)
    x = photograph(net.card, (50, 43), 2)[1:]
    with open_session(tmp_path / "net.mlpackage") as session:
        found = session.run(x)
    exact = run(net.module.double(), torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(found, exact, rtol=0, atol=5e-3)


def test_a_newer_system_is_named(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    report = export(network(Attention()), "coreml", tmp_path / "net.mlpackage")
    assert any(note.startswith("for iOS17 and later, as coremltools") for note in report.notes)
    options = {"minimum_deployment": "iOS16", "sizes": "16..64"}
    with pytest.raises(SrdeployError, match=r"interpolate .*; raise --minimum-deployment to iOS17"):
        export(network(Attention()), "coreml", tmp_path / "b.mlpackage", **options)


class Deep(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Identity(), Fold())

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.body(x))


class Fold(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.linalg.matrix_norm(x, 2, keepdim=True)


def test_what_coremltools_cannot_convert_is_named(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    with pytest.raises(SrdeployError, match="convert the operation linalg_matrix_norm of layer "):
        export(network(Deep()), "coreml", tmp_path / "net.mlpackage", sizes="24x24")
    assert not list(tmp_path.iterdir())


def test_tensorrt_reads_what_is_written(tmp_path: Path, rtx: None) -> None:
    from srdeploy.exporting.tensorrt.accept import accepts

    for kind in (Attention, Corners, Windows):
        export(network(kind()), "onnx", tmp_path / "net.onnx")
        verdict = accepts((tmp_path / "net.onnx").read_bytes())
        assert verdict.accepted, verdict.reasons


def test_a_file_of_one_size_is_checked_by_onnx(tmp_path: Path) -> None:
    export(network(Windows()), "onnx", tmp_path / "net.onnx", sizes="40x32")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert not [node for node in model.graph.node if node.op_type == "Shape"]
