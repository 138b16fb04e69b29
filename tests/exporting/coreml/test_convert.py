"""What coremltools is asked for, of a stand-in."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srdeploy.errors import SrdeployError
from srdeploy.exporting.coreml import calibrate as coreml_calibrate
from srdeploy.exporting.coreml import convert as stage
from srdeploy.exporting.coreml.calibrate import _centre, calibrate, inner_layers
from srdeploy.exporting.coreml.convert import (
    compress_weights,
    convert,
    prepare,
    quantize_activations,
)
from srdeploy.exporting.coreml.options import CoremlRequest
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.session import Session
from srdeploy.runtime.sizes import InputSizes


def options(**changes: Any) -> CoremlRequest:
    asked = {"precision": "fp32", "images": False, "sizes": InputSizes(((8, 12),)),
             "palettize": None, "quantize": None, "minimum_deployment": "iOS16"}  # fmt: skip
    return CoremlRequest(**(asked | changes))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def network(value_range: float = 255.0, channels: int = 3) -> Network:
    card = Card(arch="t", scale=1, scales=(1,), channels=channels, value_range=value_range)
    return Network(Plain().eval(), card)


def named(**kinds: Any) -> Any:
    return SimpleNamespace(**kinds)


@pytest.fixture
def ct(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``coremltools``: what is made of its types is a tuple, what is converted is noted."""
    found: Any = ModuleType("coremltools")
    found.asked = []
    found.RangeDim = lambda *bounds: ("range", *bounds)
    found.EnumeratedShapes = lambda shapes, default: ("listed", shapes, default)
    found.ImageType = lambda name=None, **facts: ("image", name, facts)
    found.TensorType = lambda name=None, **facts: ("tensor", name, facts)
    found.colorlayout = named(GRAYSCALE="grey", RGB="rgb")
    found.precision = named(FLOAT16="half", FLOAT32="single")
    found.target = {"iOS16": 16, "iOS17": 17}
    found.fails = None

    def converts(traced: Any, **facts: Any) -> str:
        found.asked.append((traced, facts))
        if found.fails is not None:
            raise found.fails
        return "model"

    found.convert = converts
    monkeypatch.setitem(sys.modules, "coremltools", found)
    return found


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        (InputSizes(((8, 12),)), (1, 3, 8, 12)),
        (InputSizes(((8, 12), (4, 6))), ("listed", [(1, 3, 8, 12), (1, 3, 4, 6)], (1, 3, 8, 12))),
        (InputSizes(low=(16, 8), high=(512, 100)),
         (1, 3, ("range", 16, 512, 256), ("range", 8, 100, 100))),
    ],
)  # fmt: skip
def test_shapes_and_types(ct: Any, sizes: InputSizes, shape: Any) -> None:
    assert convert(network(), options(sizes=sizes), (8, 12)) == "model"
    ((traced, facts),) = ct.asked
    assert facts == {
        "convert_to": "mlprogram",
        "inputs": [("tensor", "lr", {"shape": shape})],
        "outputs": [("tensor", "sr", {})],
        "compute_precision": "single",
        "minimum_deployment_target": 16,
        "skip_model_load": True,
    }
    x = torch.rand(1, 3, 8, 12)
    assert traced(x).shape == x.shape


@pytest.mark.parametrize(("channels", "colour"), [(3, "rgb"), (1, "grey")])
def test_images_and_halves(ct: Any, channels: int, colour: str) -> None:
    net = network(channels=channels)
    net.module.conv = nn.Conv2d(channels, channels, 1)
    convert(net, options(images=True, precision="fp16", minimum_deployment="iOS17"), (8, 12))
    facts = ct.asked[0][1]
    assert facts["inputs"] == [
        ("image", "lr", {"shape": (1, channels, 8, 12), "color_layout": colour})
    ]
    assert facts["outputs"] == [("image", "sr", {"color_layout": colour})]
    assert (facts["compute_precision"], facts["minimum_deployment_target"]) == ("half", 17)


@pytest.mark.parametrize(
    ("error", "said"), [(ValueError("no such op\nmore"), "no such op"), (KeyError(), "KeyError()")]
)
def test_what_cannot_be_converted(ct: Any, error: Exception, said: str) -> None:
    ct.fails = error
    with pytest.raises(SrdeployError) as caught:
        convert(network(), options(), (8, 12))
    assert str(caught.value) == (
        f"coremltools cannot convert this network ({said}); export for one size (--input 480x270), "
        "or replace it in the network's code."
    )


@pytest.mark.parametrize(("value_range", "per_level"), [(255.0, 1.0), (1.0, 1 / 255)])
def test_images_are_clamped_and_rounded(value_range: float, per_level: float) -> None:
    made, notes = prepare(network(value_range), options(images=True))
    assert notes == []
    module = made.module
    assert not module.training
    x = torch.rand(1, 3, 4, 5) * 600 - 150
    found = module(x)
    assert found.min() >= 0
    assert found.max() <= 255
    assert torch.equal(found, found.round())
    assert stage._Image(nn.Identity(), 0.5)(x).equal(x.clamp(0, 255).round())
    assert stage._Image(nn.Identity(), 1)(x).equal(x.clamp(0, 255).round())


def test_half_precision_folds_a_large_range() -> None:
    large = create("ledsr", n_blocks=1, n_feats=8)
    made, notes = prepare(large, options(precision="fp16"))
    assert len(notes) == 1
    assert notes[0].startswith("value range folded into")
    assert made is not large
    assert prepare(large, options()) == (large, [])
    small = network(1.0)
    assert prepare(small, options(precision="fp16")) == (small, [])


@pytest.fixture
def cto(monkeypatch: pytest.MonkeyPatch) -> Any:
    found: Any = ModuleType("coremltools.optimize.coreml")
    found.OpPalettizerConfig = lambda **facts: ("palette", facts)
    found.OpLinearQuantizerConfig = lambda **facts: ("linear", facts)
    found.OptimizationConfig = lambda **facts: facts
    found.palettize_weights = lambda model, config: ("palettized", model, config)
    found.linear_quantize_weights = lambda model, config: ("quantised", model, config)
    optimize = ModuleType("coremltools.optimize")
    optimize.coreml = found  # type: ignore[attr-defined]
    root = ModuleType("coremltools")
    root.optimize = optimize  # type: ignore[attr-defined]
    for name, module in (("", root), (".optimize", optimize), (".optimize.coreml", found)):
        monkeypatch.setitem(sys.modules, f"coremltools{name}", module)
    return found


@pytest.mark.parametrize("quantize", ["w8", "w8a8"])
def test_weights_are_compressed(cto: Any, quantize: str) -> None:
    palette = {"mode": "kmeans", "nbits": 6, "weight_threshold": 2048}
    assert compress_weights("m", options(palettize=6, quantize="a8")) == (
        "palettized", "m", {"global_config": ("palette", palette)},
    )  # fmt: skip
    linear = {"mode": "linear_symmetric", "weight_threshold": 2048}
    assert compress_weights("m", options(quantize=quantize)) == (
        "quantised", "m", {"global_config": ("linear", linear)},
    )  # fmt: skip
    assert compress_weights("m", options(quantize="a8")) == "m"
    assert compress_weights("m", options()) == "m"


@pytest.mark.parametrize(("layers", "found"), [(2, 2), (3, 2), (1, 2)])
def test_every_layer_reads_8_bits(
    cto: Any, layers: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two convolutions read what was restored, one of them together with a ReLU; one does not."""

    def op(kind: str, reads: str, makes: str) -> Any:
        argument = SimpleNamespace(arguments=[SimpleNamespace(name=reads)])
        return SimpleNamespace(type=kind, inputs={"x": argument},
                               outputs=[SimpleNamespace(name=makes)])  # fmt: skip

    operations = [
        op("quantize", "lr", "q"), op("dequantize", "q", "d"), op("conv", "d", "a"),
        op("relu", "d", "r"), op("conv_transpose", "d", "b"), op("conv", "r", "c"),
    ]  # fmt: skip
    block = SimpleNamespace(operations=operations)
    function = SimpleNamespace(opset="o", block_specializations={"o": block})
    spec = SimpleNamespace(mlProgram=SimpleNamespace(functions={"main": function}))
    result = SimpleNamespace(get_spec=lambda: spec)
    set_: list[Any] = []
    insert = SimpleNamespace(set_options=set_.extend)
    applied: list[Any] = []
    parts = {
        "converters.mil.frontend.milproto.load": {"load": "loader"},
        "converters.mil.mil.passes.graph_pass": {"PassOption": lambda *pair: pair},
        "converters.mil.mil.passes.pass_registry": {
            "PASS_REGISTRY": {"compression::insert_prefix_quantize_dequantize_pair": insert}
        },
        "models.utils": {"_apply_graph_pass": lambda *a, **o: applied.append((a, o)) or result},
    }
    for name, members in parts.items():
        module = ModuleType(name)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, f"coremltools.{name}", module)
    names = [str(n) for n in range(layers)]
    if layers == found:
        assert quantize_activations("m", {"x": {}}, names) is result
    else:
        with pytest.raises(SrdeployError, match=f"input of {found} of {layers} convolutions; repo"):
            quantize_activations("m", {"x": {}}, names)
    linear = ("linear", {"mode": "linear_symmetric"})
    assert set_ == [("config", {"op_name_configs": dict.fromkeys(names, linear)}),
                    ("activation_stats", {"x": {}})]  # fmt: skip
    assert applied == [
        (("m", [insert]), {"spec_version": 8, "pymil_load_func": "loader", "skip_model_load": True})
    ]


# Calibration


class Interpreted(Session):
    """A package that tells every result: its input, and twice that."""

    runtime = "fake"
    takes: InputSizes | None = None
    seen: list[tuple[int, ...]] = []
    weights: list[tuple[str, np.ndarray]] = []

    def __init__(self, path: str, threads: int, any_size: bool) -> None:
        assert (threads, any_size) == (1, True)
        super().__init__(Card(arch="t", scale=2, scales=(2,), channels=3, value_range=255.0), 1)
        self.watch: Any = None
        self.program = SimpleNamespace(convolutions=lambda: self.weights)

    @property
    def sizes(self) -> InputSizes | None:
        return self.takes

    def _run(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(x.shape[2:])
        given = torch.from_numpy(x)
        self.watch("lr", "input", given)
        self.watch("double", "mul", 2 * given - 7)
        self.watch("shape", "shape", torch.tensor([1]))
        return x.repeat(2, 2).repeat(2, 3)


class Pair:
    def __init__(self, low: int, high: int, size: tuple[int, int] = (100, 120)) -> None:
        self.image = np.full((*size, 3), low, np.uint8)
        self.image[size[0] // 2, size[1] // 2] = high

    def lr(self) -> np.ndarray:
        return self.image


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    pairs: list[Pair] = []
    monkeypatch.setattr(coreml_calibrate, "open_benchmark", lambda folder, scale: pairs)
    monkeypatch.setattr(coreml_calibrate, "CoremlReferenceSession", Interpreted)
    monkeypatch.setattr(Interpreted, "seen", [])
    monkeypatch.setattr(Interpreted, "takes", None)
    return pairs


def test_extremes_of_all_images(images: list[Pair]) -> None:
    images += [Pair(10, 30), Pair(5, 20), Pair(50, 200)]
    card = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=255.0)
    stats, count = calibrate("a", "folder", card)  # type: ignore[arg-type]
    assert count == 3
    assert stats == {"lr": {"rmin": 5, "rmax": 200}, "double": {"rmin": 3, "rmax": 393}}
    assert Interpreted.seen == [(96, 96)] * 3


@pytest.mark.parametrize(
    ("there", "taken"), [(16, 16), (17, 9), (32, 16), (33, 11), (1, 1)]
)  # fmt: skip
def test_sixteen_images_at_most(there: int, taken: int, images: list[Pair]) -> None:
    images += [Pair(n, n, (8, 8)) for n in range(there)]
    card = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=255.0)
    stats, count = calibrate("a", "folder", card)  # type: ignore[arg-type]
    assert count == taken
    step = -(-there // 16)
    assert stats["lr"] == {"rmin": 0, "rmax": step * (taken - 1)}  # spread over all


def test_large_sizes_see_fewer_images(images: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    images += [Pair(1, 2) for _ in range(10)]
    monkeypatch.setattr(Interpreted, "takes", InputSizes(((128, 128),)))
    monkeypatch.setattr(coreml_calibrate, "MOST_PIXELS", 3 * 128 * 128)
    card = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=255.0)
    assert calibrate("a", "folder", card)[1] == 3  # type: ignore[arg-type]
    assert set(Interpreted.seen) == {(128, 128)}


def test_layers_that_read_8_bits(images: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"head": 9000, "a": 2049, "b": 2048, "c": 5000, "tail": 9000}
    weights = [(name, np.zeros(size)) for name, size in sizes.items()]
    monkeypatch.setattr(Interpreted, "weights", weights)
    assert inner_layers("a") == ["a", "c"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "first", "shape"),
    [((96, 96), (0, 0), (96, 96)), ((98, 101), (1, 2), (96, 96)), ((10, 200), (0, 52), (10, 96))],
)
def test_the_centre(size: tuple, first: tuple, shape: tuple) -> None:
    image = np.stack(np.indices(size), 2)
    found = _centre(image)
    assert found.shape[:2] == shape
    assert tuple(found[0, 0]) == first
