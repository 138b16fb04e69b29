"""Real builds by TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.tensorrt import build as trt_build
from srdeploy.exporting.tensorrt.accept import accepts, require_acceptance
from srdeploy.exporting.tensorrt.build import BuildRequest, build_engine
from srdeploy.exporting.tensorrt.inspect import BuiltLayer
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.runtime.tensorrt.sidecar import ShapeProfile

pytestmark = pytest.mark.usefixtures("rtx")

RTX = "tensorrt_rtx"


def profile(channels: int = 3, low: int = 16, high: int = 64) -> ShapeProfile:
    return ShapeProfile(
        min=(1, channels, low, low), opt=(1, channels, 32, 48), max=(1, channels, high, high)
    )


@pytest.mark.parametrize("capability", ["7.5", "8.6", "8.9", "12.0"])
@pytest.mark.parametrize("arch", ["vdsr", "edsr", "ledsr", "rirsr"])
def test_every_architecture_on_every_generation(
    arch: str, capability: str, onnx_of: Callable[[str], Path]
) -> None:
    model = onnx_of(arch).read_bytes()
    channels = 1 if arch == "vdsr" else 3
    request = BuildRequest(RTX, profile(channels), "fp32", (capability,), workspace_mb=256)
    built = build_engine(model, request)
    assert len(built.engine) > 10_000
    assert (built.precision, set(built.convolutions)) == ("fp32", {"fp32"})
    assert set(built.layers) == {"fp32"}
    assert (built.input.name, built.input.dtype) == ("lr", "float32")
    assert built.output.shape == (-1, channels, -1, -1)
    if built.gpu is None:
        assert not built.verified
        assert built.verification.startswith("not verified: the engine was not loaded")
        assert built.verification.endswith("the builder's list of layers agrees")


@pytest.mark.parametrize("arch", ["vdsr", "edsr", "ledsr", "rirsr"])
@pytest.mark.parametrize("form", ["crd", "reshape", "deconv"])
def test_parser_accepts_every_network_in_every_form(
    arch: str, form: str, onnx_of: Callable[[str], Path]
) -> None:
    from srdeploy.exporting.onnx.lower import lower_pixel_shuffle

    model = lower_pixel_shuffle(onnx.load(onnx_of(arch)), form).SerializeToString()
    verdict = accepts(model)
    assert verdict.accepted, verdict.reasons
    assert verdict.layers > 5
    assert "accepted by TensorRT's parser (tensorrt" in require_acceptance(model, "trt")


def test_too_little_scratch_memory_is_told(onnx_of: Callable[[str], Path]) -> None:
    large = ShapeProfile(min=(1, 3, 16, 16), opt=(1, 3, 256, 256), max=(1, 3, 1080, 1920))
    request = BuildRequest(RTX, large, "fp32", ("8.9",), workspace_mb=1)
    with pytest.raises(UserError, match="scratch memory, and --workspace 1 is the limit"):
        build_engine(onnx_of("ledsr").read_bytes(), request)


@pytest.mark.parametrize("form", ["reshape", "deconv"])
def test_other_forms_of_shuffle_build(form: str, onnx_of: Callable[[str], Path]) -> None:
    from srdeploy.exporting.onnx.lower import lower_pixel_shuffle

    model = lower_pixel_shuffle(onnx.load(onnx_of("ledsr")), form).SerializeToString()
    assert build_engine(model, BuildRequest(RTX, profile(), "fp32", ("8.9",))).engine


def test_mixed_precision_that_spares_nothing(tmp_path: Path) -> None:
    """Of a network that bears 8 bits everywhere, mixed is int8."""
    path, request = tmp_path / "net.onnx", BuildRequest(RTX, profile(), "mixed", ("8.9",))
    torch.manual_seed(0)
    layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))).eval()
    bare = Network(layers, Card(arch="own:bare", scale=1, scales=(1,), channels=3, value_range=1.0))
    export_onnx(bare, path, precision="mixed", max_drop=99.0, accept="trt")
    assert set(build_engine(path.read_bytes(), request).convolutions) == {"int8"}
    export_onnx(bare, path)
    with pytest.raises(UserError, match="mixed was asked, but the ONNX has its convolutions"):
        build_engine(path.read_bytes(), request)


def test_refused_node_is_named(onnx_of: Callable[[str], Path]) -> None:
    model = onnx.load(onnx_of("edsr"))
    node = helper.make_node("Det", [model.graph.output[0].name], ["d"], name="/odd/Det")
    model.graph.node.append(node)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("d", TensorProto.FLOAT, [None, 3]))
    verdict = accepts(model.SerializeToString())
    assert not verdict.accepted
    assert "'/odd/Det' (Det): no such operator" in verdict.reasons[0]
    with pytest.raises(SrdeployError, match="refuses the network: '/odd/Det'"):
        require_acceptance(model.SerializeToString(), "trt")
    with pytest.raises(SrdeployError, match="refuses the network: '/odd/Det'"):
        build_engine(model.SerializeToString(), BuildRequest(RTX, profile(), None, ("8.9",)))
    with pytest.raises(UserError, match="no parser to check with named 'tr'"):
        require_acceptance(model.SerializeToString(), "tr")


def test_precision_comes_from_the_onnx(in_half: bytes, onnx_of: Callable[[str], Path]) -> None:
    built = build_engine(in_half, BuildRequest(RTX, profile(), "fp16", ("8.9",)))
    assert built.precision == "fp16"
    assert (built.input.dtype, built.output.dtype) == ("float16", "float16")
    assert any("fp16" in kinds for kinds in built.layers)
    for wish in ("fp32", "int8", "mixed"):
        with pytest.raises(UserError, match=rf"{wish} was asked, but .*in fp16"):
            build_engine(in_half, BuildRequest(RTX, profile(), wish, ("8.9",)))
    with pytest.raises(UserError, match="fp16 was asked"):
        build_engine(onnx_of("edsr").read_bytes(), BuildRequest(RTX, profile(), "fp16", ("8.9",)))


def test_mixed_and_quantised_convolutions_are_told_apart() -> None:
    """One convolution behind a dequantisation, one in fp32."""
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [0.1])
    zero = helper.make_tensor("zero", TensorProto.INT8, [], [0])
    weights = {
        name: helper.make_tensor(name, TensorProto.INT8 if name == "q" else TensorProto.FLOAT,
                                 [3, 3, 1, 1], [1] * 9)
        for name in ("q", "w")
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["lr", "scale", "zero"], ["xq"], name="quantise"),
        helper.make_node("DequantizeLinear", ["xq", "scale", "zero"], ["xd"], name="dequantise"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["wd"], name="weights"),
        helper.make_node("Conv", ["xd", "wd"], ["y"], name="first"),
        helper.make_node("Conv", ["y", "w"], ["sr"], name="second"),
    ]
    image = [1, 3, "H", "W"]
    graph = helper.make_graph(
        nodes, "two",
        [helper.make_tensor_value_info("lr", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("sr", TensorProto.FLOAT, image)],
        [scale, zero, *weights.values()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    built = build_engine(model.SerializeToString(), BuildRequest(RTX, profile(), "mixed", ("8.9",)))
    assert built.convolutions == {"fp32": 1, "int8": 1}
    assert built.precision == "mixed"


def test_an_engine_that_is_not_what_was_asked_is_refused(
    in_half: bytes, onnx_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def built_in(*kinds: str) -> None:
        layers = [BuiltLayer("conv", frozenset(kinds))]
        monkeypatch.setattr(trt_build, "layers_of_log", lambda text: layers)

    model = onnx_of("edsr").read_bytes()
    built_in("fp16", "fp32")
    with pytest.raises(SrdeployError, match="computes in fp16, which nobody asked for"):
        build_engine(model, BuildRequest(RTX, profile(), "fp32", ("8.9",)))
    built_in("fp32")
    with pytest.raises(SrdeployError, match=r"no layer of the engine is in fp16; .*thrown away"):
        build_engine(in_half, BuildRequest(RTX, profile(), "fp16", ("8.9",)))


@pytest.mark.parametrize("damage", ["empty", "head", "tail", "text"])
def test_damaged_onnx_is_one_sentence(damage: str, onnx_of: Callable[[str], Path]) -> None:
    whole = onnx_of("edsr").read_bytes()
    model = {"empty": b"", "head": whole[:200], "tail": whole[:-50], "text": b"hello"}[damage]
    for ask in (lambda: accepts(model), lambda: build_engine(model, BuildRequest(RTX, profile()))):
        with pytest.raises(UserError, match="is no complete ONNX model") as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_shapes_that_do_not_fit(onnx_of: Callable[[str], Path]) -> None:
    model = onnx.load(onnx_of("edsr"))
    with pytest.raises(UserError, match=r"takes .*x3x.* not 1x1x16x16"):
        build_engine(model.SerializeToString(), BuildRequest(RTX, profile(1), None, ("8.9",)))
