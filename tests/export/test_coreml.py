from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.export import coreml as stage
from srdeploy.export.coreml import export_coreml
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create

ct = pytest.importorskip("coremltools")


def small(scale: int = 3) -> Network:
    return create("edsr", scale=scale, n_blocks=1, n_feats=8, res_scale=0.1)


def test_saved_program_holds_the_whole_network(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.mlpackage"
    report = export_coreml(small(), path)

    assert capfd.readouterr() == ("", "")  # coremltools is chatty
    assert [p.name for p in tmp_path.iterdir()] == ["net.mlpackage"]
    assert report.operators["pixel_shuffle"] == 1
    assert report.operators["conv"] == 8
    assert report.parity is None
    assert "not run: CoreML predicts on macOS only" in report.notes[0]
    spec = ct.utils.load_spec(str(path))
    assert spec.WhichOneof("Type") == "mlProgram"
    assert spec.specificationVersion == 7  # iOS 16
    ranges = spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges
    assert [(r.lowerBound, r.upperBound) for r in ranges] == [(1, 1), (3, 3), *[(16, 2048)] * 2]
    assert "0 to 255" in spec.description.input[0].shortDescription
    card = Card.from_json(spec.description.metadata.userDefined[CARD_KEY])
    assert card.scale == 3
    assert card.history[-1]["target"] == "coreml"


def test_fixed_size_and_luma(tmp_path: Path) -> None:
    network = create("vdsr", n_layers=3, n_feats=4)
    export_coreml(network, tmp_path / "net.mlpackage", size=(30, 40))
    description = ct.utils.load_spec(str(tmp_path / "net.mlpackage")).description
    assert list(description.input[0].type.multiArrayType.shape) == [1, 1, 30, 40]
    assert (description.input[0].name, description.output[0].name) == ("lr", "sr")


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    network = small()
    first = export_coreml(network, tmp_path / "a.mlpackage")
    second = export_coreml(network.copy(), tmp_path / "b.mlpackage")
    assert first.sha256 == second.sha256
    assert first.bytes == second.bytes > 4 * 8 * 8 * 9


class Unshuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(12, 8, 3, padding=1, groups=2)
        self.act = nn.PReLU(8)
        self.up = nn.ConvTranspose2d(8, 12, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.act(self.head(nn.functional.pixel_unshuffle(x, 2))).chunk(2, dim=1)
        return nn.functional.pixel_shuffle(self.up(torch.cat([b, a], dim=1)), 2)


def own(module: nn.Module, **facts: Any) -> Network:
    card = Card(arch="tests:own", scale=2, scales=(2,), channels=3, value_range=1.0, **facts)
    return Network(module.eval(), card)


def test_foreign_operations_and_size_multiple(tmp_path: Path) -> None:
    network = own(Unshuffled(), size_multiple=2)
    report = export_coreml(network, tmp_path / "net.mlpackage", size=(32, 48))
    assert report.operators["conv_transpose"] == 1
    assert report.operators["pixel_shuffle"] == 1
    with pytest.raises(UserError, match="cannot take 31x48 pixels; give multiples of 2"):
        export_coreml(network, tmp_path / "net.mlpackage", size=(31, 48))


def test_lost_operations_are_noticed_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_operations = stage.trace_operations

    def more(network: Network) -> Any:
        trace = trace_operations(network)
        trace.shuffles.append(2)
        return trace

    monkeypatch.setattr(stage, "trace_operations", more)
    with pytest.raises(SrdeployError, match=r"lacks the pixel shuffles by \[2\]"):
        export_coreml(small(), tmp_path / "net.mlpackage")
    assert list(tmp_path.iterdir()) == []


def test_unconvertible_network(tmp_path: Path) -> None:
    class Decomposition(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.linalg.svdvals(x)[..., :1, None] * 0 + x
            return y.repeat_interleave(2, 2).repeat_interleave(2, 3)

    with pytest.raises(SrdeployError, match="coremltools cannot convert") as caught:
        export_coreml(own(Decomposition()), tmp_path / "net.mlpackage")
    assert "\n" not in str(caught.value)


def test_wrong_ending_and_missing_coremltools(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"must end in \.mlpackage"):
        export_coreml(small(), tmp_path / "net.mlmodel")
    monkeypatch.setattr("srdeploy.runtime.table.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed: pip install coremltools"):
        export_coreml(small(), tmp_path / "net.mlpackage")
