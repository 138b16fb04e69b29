"""Each precision: written, measured, and read back for what it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision import write as stage
from srdeploy.exporting.precision.graph import convolution_kinds, layers_of
from srdeploy.exporting.precision.quantise_graph import quantise
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.runtime.table import TENSORRT_RTX
from srdeploy.util.files import sha256

SMALL: dict[str, dict[str, Any]] = {
    "vdsr": {"n_layers": 4, "n_feats": 8},
    "edsr": {"n_blocks": 2, "n_feats": 8},
    "ledsr": {"n_blocks": 2, "n_feats": 8},
    "rirsr": {"n_groups": 2, "n_blocks": 1, "n_feats": 8},
}


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return create("ledsr", scale=2, **SMALL["ledsr"])


def kinds(path: Path) -> Counter[str]:
    return Counter(convolution_kinds(onnx.load(path)).values())


@pytest.mark.parametrize("arch", SMALL)
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_every_architecture(arch: str, precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "net.onnx"
    net = create(arch, scale=3, **SMALL[arch])
    report = export_onnx(net, file, precision=precision, opset=13)
    model = onnx.load(file)
    assert report.precision == precision
    assert report.quality is not None
    assert abs(report.quality["drop"]) < 0.5
    assert report.quality["protocol"].startswith("psnr[y")
    ends = (*model.graph.input, *model.graph.output)
    assert {end.type.tensor_type.elem_type for end in ends} == {onnx.TensorProto.FLOAT}
    counted = kinds(file)
    if precision == "fp16":
        assert set(counted) == {"fp16"}
        assert {t.data_type for t in model.graph.initializer} == {onnx.TensorProto.FLOAT16}
    else:
        inner = counted["int8"]
        assert inner >= counted.total() - 4  # two ends, two mean shifts
        weights = [t for t in model.graph.initializer if t.name.endswith(".weight_int8")]
        assert [t.data_type for t in weights] == [onnx.TensorProto.INT8] * inner
        assert report.operators["QuantizeLinear"] > 0
    rows = {row["layer"]: row["precision"] for row in report.layers}
    counted["int8"] -= sum(node.name.endswith("_passed/Conv") for node in model.graph.node)
    assert Counter(rows[layer.name] for layer in layers_of_float(net, tmp_path)) == counted


def layers_of_float(network: Network, folder: Path) -> list[Any]:
    export_onnx(network, folder / "plain.onnx", check=False)
    return [layer for layer in layers_of(onnx.load(folder / "plain.onnx")) if not layer.is_sum]


@pytest.mark.parametrize("precision", ["fp16", "int8", "mixed"])
def test_sizes_stay_dynamic_and_the_card_tells(
    precision: str, network: Network, tmp_path: Path
) -> None:
    file = tmp_path / "net.onnx"
    options = {"max_drop": 1.0} if precision == "mixed" else {}
    export_onnx(network, file, precision=precision, **options)
    with OnnxSession(file, threads=1) as session:
        for size in ((9, 31), (40, 12)):
            x = np.full((2, 3, *size), 100, np.float32)
            assert session.run(x).shape == (2, 3, 2 * size[0], 2 * size[1])
        (step,) = session.card.history
    assert step["precision"] == precision
    assert isinstance(step["kept_fp32"], list)
    assert session.card.model_copy(update={"history": []}) == network.card


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_equal_requests_give_equal_bytes(precision: str, network: Network, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        export_onnx(network.copy(), tmp_path / name, precision=precision, check=False)
    assert sha256(tmp_path / "a.onnx") == sha256(tmp_path / "b.onnx")


class Overflowing(nn.Module):
    """A layer in the middle reaches 1e6, whatever the range of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.loud, self.soft, self.last = (
            nn.Conv2d(a, b, 3, padding=1) for a, b in ((3, 4), (4, 4), (4, 4), (4, 12))
        )
        with torch.no_grad():
            for layer in (self.first, self.loud, self.soft, self.last):
                layer.weight.fill_(0.03)
            self.loud.bias.fill_(1e6)
            self.soft.weight.mul_(1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sigmoid(self.first(x))  # pins the range, so that nothing can be folded away
        return nn.functional.pixel_shuffle(self.last(torch.sigmoid(self.soft(self.loud(y)))), 2)


def test_layers_that_overflow_stay_in_fp32_by_name(tmp_path: Path) -> None:
    card = Card(arch="tests:own", scale=2, scales=(2,), channels=3, value_range=1.0)
    report = export_onnx(
        Network(Overflowing().eval(), card), tmp_path / "net.onnx", precision="fp16"
    )
    rows = {row["layer"]: row for row in report.layers}
    assert {n: r["precision"] for n, r in rows.items()} == {
        "first": "fp16", "loud": "fp32", "soft": "fp32", "last": "fp16",
    }  # fmt: skip
    assert rows["loud"]["max_abs"] >= 1e6
    assert rows["loud"]["headroom"] == pytest.approx(65504 / rows["loud"]["max_abs"])
    assert any("in fp32, because" in note and "/loud/Conv" in note for note in report.notes)
    assert kinds(tmp_path / "net.onnx") == {"fp16": 2, "fp32": 2}
    assert report.parity is not None
    assert report.parity.relative < 1e-3


def test_pixel_shuffle_forms_work_in_every_precision(network: Network, tmp_path: Path) -> None:
    # onnxruntime's CPU may keep float32 between float16 operators, or not: the forms differ there.
    for precision, tolerance in (("fp16", 0.1), ("int8", 0.0)):
        found = []
        for form in ("crd", "reshape", "deconv"):
            file = tmp_path / f"{form}.onnx"
            export_onnx(network, file, precision=precision, pixel_shuffle=form, check=False)
            with OnnxSession(file, threads=1) as session:
                x = np.random.default_rng(0).uniform(0, 255, (1, 3, 16, 20)).astype(np.float32)
                found.append(session.run(x))
        np.testing.assert_allclose(found[1], found[0], rtol=0, atol=tolerance)
        np.testing.assert_allclose(found[2], found[0], rtol=0, atol=tolerance)


def test_gate_refuses_writes_nothing_and_says_what_passes(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drops = iter([0.2, 0.01, 0.02, 0.02, 0.02, 0.02])
    monkeypatch.setattr(stage.Gate, "drop", lambda self, model: next(drops))
    with pytest.raises(SrdeployError) as refused:
        export_onnx(network, tmp_path / "net.onnx", precision="int8", max_drop=0.05)
    message = str(refused.value)
    assert "In int8 the network loses 0.200 dB on builtin (psnr[y" in message
    assert "more than the 0.05 allowed; the layers that cost most are " in message
    assert "use --precision mixed, or allow --max-drop 0.20" in message
    assert refused.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_gate_holds_for_fp16_too(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.Gate, "drop", lambda self, model: float("nan"))
    with pytest.raises(SrdeployError, match="In fp16 the network loses nan dB"):
        export_onnx(network, tmp_path / "net.onnx", precision="fp16", max_drop=0.05)
    assert list(tmp_path.iterdir()) == []


def test_mixed_spares_the_fewest(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(self: Any, model: onnx.ModelProto) -> float:
        return 0.02 * (Counter(convolution_kinds(model).values())["int8"] - 3)

    monkeypatch.setattr(stage.Gate, "drop", drop)
    report = export_onnx(network, tmp_path / "net.onnx", precision="mixed", max_drop=0.045)
    found = kinds(tmp_path / "net.onnx")
    assert found == {"int8": 5, "fp32": found["fp32"]}
    assert report.quality is not None
    assert report.quality["drop"] == pytest.approx(0.04)
    spared = [row for row in report.layers if row["precision"] == "fp32"]
    rounded = [row for row in report.layers if row["precision"] == "int8"]
    assert min(row["noise"] for row in spared) >= max(row["noise"] for row in rounded)


def test_mixed_that_cannot_pass(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage.Gate, "drop", lambda self, model: 1.0)
    with pytest.raises(SrdeployError, match=r"No layer can run in int8 within 0\.05 dB on builtin"):
        export_onnx(network, tmp_path / "net.onnx", precision="mixed")
    assert list(tmp_path.iterdir()) == []


def test_label_that_the_graph_belies_is_refused(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(model: Any, layers: Any, ranges: Any, **options: Any) -> onnx.ModelProto:
        return quantise(model, list(layers)[1:], ranges, **options)

    monkeypatch.setattr(stage, "quantise", forgetful)
    with pytest.raises(SrdeployError, match="int8 was asked, but the graph has its convolutions"):
        export_onnx(network, tmp_path / "net.onnx", precision="int8", check=False)
    monkeypatch.setattr(stage, "to_half", lambda model, audit: (model, []))
    with pytest.raises(SrdeployError, match=r"fp16 was asked, but .* otherwise .* in fp32; wrong"):
        export_onnx(network, tmp_path / "net.onnx", precision="fp16", check=False)
    assert list(tmp_path.iterdir()) == []


def test_network_without_inner_layers(tmp_path: Path) -> None:
    ends_only = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)).eval()
    card = Card(arch="tests:own", scale=2, scales=(2,), channels=3, value_range=1.0)
    with pytest.raises(UserError, match="nothing to run in int8"):
        export_onnx(Network(ends_only, card), tmp_path / "net.onnx", precision="int8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16", "opset": 17}, "bf16 needs operator set 22; leave --opset out"),
        ({"precision": "bf16", "calibration": "builtin"}, "there is nothing to calibrate"),
        ({"precision": "bf16", "activations": "int8"}, "--activations goes with int8 and mixed"),
        ({"precision": "int9"}, "no precision of ONNX files named 'int9'; did you mean 'int8'"),
        ({"max_drop": 0.1}, "--max-drop goes with another precision than fp32; give --precision"),
        ({"precision": "fp16", "calibration_method": "mse"}, "--calibration-method goes with int8"),
        ({"precision": "int8", "calibration_method": "max"}, "no calibration method named 'max'"),
        ({"precision": "int8", "activations": "int4"}, "no type of activations named 'int4'"),
        ({"precision": "int8", "max_drop": -1.0}, "--max-drop is a loss in dB above 0, not -1"),
        ({"precision": "int8", "calibration": "nowhere"}, "nowhere"),
    ],
)
def test_requests_that_make_no_sense(
    options: dict[str, Any], message: str, network: Network, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        export_onnx(network, tmp_path / "net.onnx", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not TENSORRT_RTX.availability(), reason="needs NVIDIA's builder")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_nvidias_parser_takes_it(precision: str, network: Network, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    report = export_onnx(network, path, precision=precision, accept="trt", check=False)
    assert any("accepted by TensorRT's parser" in note for note in report.notes)


@pytest.mark.skipif(not TENSORRT_RTX.availability(), reason="needs NVIDIA's builder")
def test_nvidias_parser_refuses_asymmetric_activations(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(SrdeployError, match=r"asymmetric.* export it with --activations int8"):
        export_onnx(network, path, precision="int8", activations="uint8", accept="trt", check=False)
    assert not path.exists()
