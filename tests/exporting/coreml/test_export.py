from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srdeploy.data.benchmark import Pair, open_benchmark
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.coreml import export as stage
from srdeploy.exporting.coreml.export import UNITS_KEY, export_coreml
from srdeploy.exporting.probe import run_torch
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.probes import Size, photograph
from srdeploy.models.registry import create
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.coreml.reference import CoremlReferenceSession
from srdeploy.runtime.sizes import InputSizes
from tests.exporting.coreml_zoo import ZOO, own, small

ct = pytest.importorskip("coremltools")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.mlpackage"


def describe(path: Path) -> Any:
    return ct.utils.load_spec(str(path)).description


def test_saved_program_holds_the_whole_network(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = export_coreml(small(), path)

    assert capfd.readouterr() == ("", "")  # coremltools is chatty
    assert [p.name for p in path.parent.iterdir()] == ["net.mlpackage"]
    assert report.operators["pixel_shuffle"] == 1
    assert report.operators["conv"] == 8
    assert report.precision == "fp32"
    assert report.parity is not None
    assert report.parity.relative < 1e-6
    assert report.parity.sizes == [(24, 20), (17, 29), (136, 152)]
    assert any("not by Core ML" in note for note in report.notes)
    spec = ct.utils.load_spec(str(path))
    assert spec.WhichOneof("Type") == "mlProgram"
    assert spec.specificationVersion == 7  # iOS 16
    ranges = spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges
    assert [(r.lowerBound, r.upperBound) for r in ranges] == [(1, 1), (3, 3), *[(16, 2048)] * 2]
    assert "0 to 255" in spec.description.input[0].shortDescription
    card = Card.from_json(spec.description.metadata.userDefined[CARD_KEY])
    assert card.scale == 3
    last = card.history[-1]
    assert (last["target"], last["precision"], last["sizes"]) == ("coreml", "fp32", "16..2048")
    assert last["compute_units"] == spec.description.metadata.userDefined[UNITS_KEY]


@pytest.mark.parametrize(("arch", "config"), ZOO)
def test_float32_equals_torch_and_float16_is_near(
    arch: str, config: dict[str, Any], path: Path
) -> None:
    torch.manual_seed(1)
    network = create(arch, **config)
    exact = export_coreml(network, path, sizes="16..64")
    assert exact.parity is not None
    assert exact.parity.relative < 1e-5
    half = export_coreml(network, path, sizes="16..64", precision="fp16")
    assert half.parity is not None
    assert 1e-5 < half.parity.relative < 3e-3
    assert any(n.startswith("value range folded") for n in half.notes) == (
        network.card.value_range == 255
    )


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    network = small(n_feats=16)
    for options in ({}, {"precision": "fp16", "palettize": 4, "images": True}):
        first = export_coreml(network, tmp_path / "a.mlpackage", sizes="24x16", **options)
        second = export_coreml(network.copy(), tmp_path / "b.mlpackage", sizes="24x16", **options)
        assert first.sha256 == second.sha256
        assert first.bytes == second.bytes > 4 * 8 * 8 * 9


@pytest.mark.parametrize(
    ("sizes", "inside", "outside"),
    [
        ("24x16", (16, 24), (24, 16)),
        ("24x16,32x24", (24, 32), (16, 32)),
        ("16..32x24", (20, 31), (25, 30)),
    ],
)
@pytest.mark.parametrize("images", [False, True])
def test_sizes_are_what_was_asked(
    sizes: str, inside: tuple[int, int], outside: tuple[int, int], images: bool, path: Path
) -> None:
    network = small()
    report = export_coreml(network, path, precision="fp16", sizes=sizes, images=images)
    assert report.parity is not None
    with CoremlReferenceSession(path, threads=1) as session:
        x = np.rint(photograph(network.card, inside))
        expected = run_torch(network, x)
        expected = expected.clip(0, 255) if images else expected
        assert np.abs(session.run(x) - expected).max() < 1.5
        with pytest.raises(UserError, match=r"takes .* only, not .*; export it with an --input"):
            session.run(photograph(network.card, outside))
        ends = session.package
    assert ends.input.sizes == InputSizes.parse(sizes)
    if images:
        assert ends.output.sizes == ends.input.sizes.times(3)
        kind = describe(path).output[0].type.imageType
        assert ends.output.sizes.allows(kind.height, kind.width)


def test_images_are_clamped_and_rounded_inside(path: Path) -> None:
    network = small(scale=2)
    with torch.no_grad():
        network.module.get_parameter("tail.1.weight").mul_(20)  # far outside 0..255
    report = export_coreml(network, path, images=True, sizes="24x16")
    assert report.operators["clip"] == report.operators["round"] == 1
    assert "mul" not in report.operators
    description = describe(path)
    colours = [f.type.imageType.colorSpace for f in (*description.input, *description.output)]
    assert colours == [20, 20]  # RGB
    assert (
        description.output[0].type.imageType.width,
        description.output[0].type.imageType.height,
    ) == (48, 32)
    x = np.rint(photograph(network.card, (16, 24)))
    expected = np.rint(run_torch(network, x).clip(0, 255))
    assert expected.min() == 0
    assert expected.max() == 255
    with CoremlReferenceSession(path, threads=1) as session:
        found = session.run(x)
    assert np.abs(found - expected).max() <= 1  # ties
    assert (found != expected).mean() < 1e-3


def test_luma_network_takes_a_grayscale_image(path: Path) -> None:
    network = create("vdsr", n_layers=3, n_feats=4)
    report = export_coreml(network, path, precision="fp16", images=True, sizes="40x30")
    assert report.parity is not None
    assert report.parity.max_abs_diff <= 1.01 / 255
    assert "mul" not in report.operators  # 1/255 went into the convolutions
    description = describe(path)
    for feature in (*description.input, *description.output):
        image = feature.type.imageType
        assert (image.colorSpace, image.width, image.height) == (10, 40, 30)  # grayscale
    assert "luma" in description.input[0].shortDescription


class Clamped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.conv(x)).clamp(0, 1)


def test_a_range_that_cannot_be_folded_is_multiplied(path: Path) -> None:
    report = export_coreml(own(Clamped()), path, images=True, precision="fp16", sizes="16..64")
    assert report.operators["mul"] >= 1
    assert report.parity is not None
    assert report.parity.max_abs_diff <= 1.01 / 255


class Unshuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(12, 8, 3, padding=1, groups=2)
        self.act = nn.PReLU(8)
        self.up = nn.ConvTranspose2d(8, 12, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.act(self.head(nn.functional.pixel_unshuffle(x, 2))).chunk(2, dim=1)
        return nn.functional.pixel_shuffle(self.up(torch.cat([b, a], dim=1)), 2)


def test_foreign_operations_and_size_multiple(path: Path) -> None:
    network = own(Unshuffled(), size_multiple=2)
    report = export_coreml(network, path, sizes="48x32")
    assert report.operators["conv_transpose"] == 1
    assert report.operators["pixel_shuffle"] == 1
    assert report.parity is not None
    assert report.parity.relative < 1e-5
    with pytest.raises(UserError, match="cannot take 48x31 pixels; give multiples of 2"):
        export_coreml(network, path, sizes="48x31")


def test_lost_operations_are_noticed_and_nothing_is_left(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace_operations = stage.trace_operations

    def more(network: Network, size: Size) -> Any:
        trace = trace_operations(network, size)
        trace.shuffles.append(2)
        return trace

    monkeypatch.setattr(stage, "trace_operations", more)
    with pytest.raises(SrdeployError, match=r"lacks the pixel shuffles by \[2\]"):
        export_coreml(small(), path)
    assert list(path.parent.iterdir()) == []


def test_a_program_that_computes_something_else_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = stage.convert

    def spoiled(network: Network, *options: Any) -> Any:
        other = network.copy()
        with torch.no_grad():
            next(p for p in other.module.parameters() if p.dim() == 4 and p.requires_grad).mul_(1.5)
        return convert(other, *options)

    monkeypatch.setattr(stage, "convert", spoiled)
    for options in ({}, {"precision": "fp16"}, {"precision": "fp16", "quantize": "w8"}):
        with pytest.raises(SrdeployError, match="differs from torch by"):
            export_coreml(small(), path, sizes="24x16", **options)
    assert list(path.parent.iterdir()) == []


def test_overflow_names_the_operation(path: Path) -> None:
    network = own(Clamped(), value_range=1.0)
    with torch.no_grad():
        network.module.get_parameter("conv.weight").mul_(2e5)
    assert export_coreml(network, path, sizes="24x16").parity is not None
    with pytest.raises(SrdeployError, match=r"fp16 program overflows in conv '.*--precision fp32"):
        export_coreml(network, path, sizes="24x16", precision="fp16")
    with torch.no_grad():
        network.module.get_parameter("conv.weight").mul_(100)
    with pytest.raises(SrdeployError, match=r"weights of 'conv_weight' are not fp16"):
        export_coreml(network, path, sizes="24x16", precision="fp16")


def test_unconvertible_network(path: Path) -> None:
    class Decomposition(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.linalg.svdvals(x)[..., :1, None] * 0 + x
            return y.repeat_interleave(2, 2).repeat_interleave(2, 3)

    with pytest.raises(SrdeployError, match="coremltools cannot convert") as caught:
        export_coreml(own(Decomposition()), path)
    assert "\n" not in str(caught.value)


def test_wrong_ending_and_missing_coremltools(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"must end in \.mlpackage"):
        export_coreml(small(), path.with_suffix(".mlmodel"))
    monkeypatch.setattr("srdeploy.runtime.table.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="not installed: pip install coremltools"):
        export_coreml(small(), path)


def keeps_its_quality(network: Network, pairs: list[Pair], path: Path) -> None:
    """The packages measure what torch does, but for what their precision costs."""
    expected = evaluate(network, pairs, 2, progress=False).psnr_y
    allowed: list[tuple[dict[str, Any], float]] = [
        ({}, 0.001),
        ({"precision": "fp16"}, 0.002),
        ({"precision": "fp16", "images": True}, 0.002),
        ({"precision": "fp16", "quantize": "w8a8"}, 0.10),
    ]
    for options, drop in allowed:
        export_coreml(network, path, **options)
        with CoremlReferenceSession(path, threads=1) as session:
            found = evaluate(session, pairs, 2, progress=False).psnr_y
        assert found == pytest.approx(expected, abs=drop), options


def test_quality_of_the_package_itself(path: Path) -> None:
    keeps_its_quality(load_network("edsr-s-x2-p70"), open_benchmark("builtin", 2), path)


@pytest.mark.slow
def test_published_quality_of_the_package_itself(path: Path, shared_data: Path) -> None:
    """MLPerf's EDSR on Set5: the published 37.38 dB, from the artifact."""
    network = load_network(shared_data / "weights/edsr_mlperf/edsr_f32b5_x2_pytorch.pt")
    set5 = open_benchmark(shared_data / "benchmark/Set5", 2)
    assert evaluate(network, set5, 2, progress=False).psnr_y == pytest.approx(37.38, abs=0.005)
    keeps_its_quality(network, set5, path)
