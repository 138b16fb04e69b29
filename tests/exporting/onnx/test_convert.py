"""Existing ONNX files in other precisions: whatever wrote them, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import srdeploy as sr
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx import adopt as onnx_adopt
from srdeploy.exporting.onnx import convert as onnx_convert
from srdeploy.exporting.onnx.convert import convert_onnx
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision.graph import convolution_kinds
from srdeploy.exporting.provenance import tell
from srdeploy.exporting.run import export
from srdeploy.exporting.tensorrt.onnx import write_source
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.files import sha256
from tests.exporting.foreign_onnx import TRAINED, foreign


@pytest.fixture(autouse=True)
def _one_runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other runtimes take their time; once is enough."""
    if "every" not in request.node.name:
        monkeypatch.setattr("srdeploy.exporting.gate.others", lambda usual: [])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A foreign file."""
    return foreign(tmp_path_factory.mktemp("foreign") / "net.onnx")


def ends(path: Path) -> list[Any]:
    graph = onnx.load(path).graph
    return [
        (v.name, v.type.tensor_type.elem_type, [d.dim_param or d.dim_value for d in dims])
        for v in (*graph.input, *graph.output)
        for dims in (v.type.tensor_type.shape.dim,)
    ]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8", "mixed"])
def test_a_foreign_file_in_every_precision(precision: str, plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.onnx"
    limit = {"max_drop": 0.2} if precision == "mixed" else {}
    report = export(plain, "onnx", path, precision=precision, value_range=255, **limit)
    assert report.precision == precision
    assert report.parity is not None
    assert report.parity.sizes == [(24, 20), (17, 29), (136, 152)]
    assert ends(path) == ends(plain)
    kinds = Counter(convolution_kinds(onnx.load(path)).values())
    assert kinds[{"mixed": "int8"}.get(precision, precision)]
    assert report.quality is not None
    assert report.quality["drop"] < {"bf16": 0.2, "int8": 0.3}.get(precision, 0.2)
    original = evaluate(load_network(TRAINED), "builtin", 2)
    assert report.quality["psnr_fp32"] == pytest.approx(original.psnr, abs=2e-3)
    if precision == "int8":
        here = [r.name for r in RUNTIMES.values() if ".onnx" in r.suffixes and r.availability()]
        assert {"onnxruntime"} <= report.quality["runtimes"].keys() <= {*here}
        assert ("openvino" in report.quality["runtimes"]) == ("openvino" in here)
    with open_session(path) as session:  # its card says what was asked for the first time
        assert session.card.value_range == 255.0
        found = evaluate(session, "builtin", 2).psnr
    assert found == pytest.approx(report.quality["psnr"], abs=1e-3)


def test_what_a_foreign_file_does_not_say_is_found_out_and_told(
    plain: Path, tmp_path: Path
) -> None:
    export(plain, "onnx", tmp_path / "out.onnx", precision="int8")
    card = read_card_of(tmp_path / "out.onnx")
    assert (card.arch, card.scale, card.value_range, card.channels) == ("onnx", 2, 255.0, 3)
    first, last = card.history
    assert (first["step"], first["file"], first["sha256"]) == (
        "import", "net.onnx", sha256(plain),
    )  # fmt: skip
    assert first["assumed"] == ["pixel values run from 0 to 255 (fed so, it beats bicubic)"]
    assert (last["step"], last["parent_sha256"]) == ("export", sha256(plain))
    story = tell(tmp_path / "out.onnx")
    assert story.weights_sha256 == last["weights_sha256"]
    told = [line for chapter in story.chapters for line in chapter.told]
    assert any("rounding to int8" in line and line.startswith("checked: ") for line in told), told
    assert any(line.startswith("from the ONNX file sha256") for line in told)


@pytest.mark.parametrize("value_range", [0, -1, float("nan"), float("inf")])
def test_ranges_that_no_pixels_have(value_range: float, plain: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--value-range is what pixels run to, 1 or 255, not"):
        export(plain, "onnx", tmp_path / "a.onnx", value_range=value_range)


def test_a_range_that_cannot_be_meant_is_told(plain: Path, tmp_path: Path) -> None:
    report = export(plain, "onnx", tmp_path / "a.onnx", value_range=1)
    assert any("is --value-range 255 meant?" in note for note in report.notes)
    assert read_card_of(tmp_path / "a.onnx").value_range == 1.0
    report = export(plain, "onnx", tmp_path / "a.onnx", value_range=255)
    assert not any("meant?" in note for note in report.notes)


def test_a_file_of_ours_keeps_its_card(tmp_path: Path) -> None:
    network = load_network(TRAINED)
    export_onnx(network, tmp_path / "net.onnx", check=False)
    report = export(tmp_path / "net.onnx", "onnx", tmp_path / "out.onnx", precision="int8")
    card = read_card_of(tmp_path / "out.onnx")
    assert card.model_copy(update={"history": []}) == network.card.model_copy(
        update={"history": []}
    )
    before = read_card_of(tmp_path / "net.onnx").history
    assert card.history[:-1] == before
    assert card.history[-1]["parent_sha256"] == sha256(tmp_path / "net.onnx")
    assert tell(tmp_path / "out.onnx").weights_sha256 == before[-1]["weights_sha256"]
    assert report.quality is not None
    direct = export_onnx(network, tmp_path / "direct.onnx", precision="int8")
    assert direct.quality is not None
    assert report.quality["psnr"] == pytest.approx(direct.quality["psnr"], abs=1e-6)
    assert ends(tmp_path / "out.onnx") == ends(tmp_path / "direct.onnx")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "mixed"])
def test_a_file_of_one_size(precision: str, tmp_path: Path) -> None:
    path = foreign(tmp_path / "net.onnx", size=(60, 75), batch=1)
    report = export(path, "onnx", tmp_path / "out.onnx", precision=precision)
    assert report.parity is not None
    assert report.parity.sizes == [(60, 75)]
    assert ends(tmp_path / "out.onnx")[1][2] == [1, 3, 120, 150]
    assert report.quality is not None
    assert abs(report.quality["drop"]) < 0.3


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_file_in_half_precision_gets_float32_ends(precision: str, tmp_path: Path) -> None:
    path = foreign(tmp_path / "net.onnx", half=True)
    report = export(path, "onnx", tmp_path / "out.onnx", precision=precision)
    assert {kind for _, kind, _ in ends(tmp_path / "out.onnx")} == {TensorProto.FLOAT}
    assert any("rounded to fp16 before" in note for note in report.notes)
    kinds = set(convolution_kinds(onnx.load(tmp_path / "out.onnx")).values())
    assert kinds == ({"int8", "fp32"} if precision == "int8" else {precision})
    assert not any(n.op_type == "Cast" for n in onnx.load(tmp_path / "out.onnx").graph.node) or (
        precision == "fp16"
    )


@pytest.mark.parametrize(("opset", "old"), [(11, True), (11, False), (13, True), (21, False)])
def test_files_of_older_and_newer_exporters(opset: int, old: bool, tmp_path: Path) -> None:
    path = foreign(tmp_path / "net.onnx", opset=opset, old=old)
    report = export(path, "onnx", tmp_path / "out.onnx", precision="int8", value_range=255)
    assert report.opset == (17 if opset < 13 else opset)
    model = onnx.load(tmp_path / "out.onnx")
    assert [value.name for value in model.graph.input] == ["input"]
    assert Counter(convolution_kinds(model).values())["int8"] > 10


def test_weights_beside_the_file_come_into_it(tmp_path: Path) -> None:
    path = foreign(tmp_path / "net.onnx")
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="net.bin", size_threshold=0
    )
    assert (tmp_path / "net.bin").stat().st_size > path.stat().st_size
    export(path, "onnx", tmp_path / "b" / "out.onnx", precision="int8", value_range=255)
    assert [one.name for one in (tmp_path / "b").iterdir()] == ["out.onnx"]
    with open_session(tmp_path / "b" / "out.onnx") as session:
        assert session.card.scale == 2


def test_luma_on_the_upscaled_image(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = create("vdsr", n_layers=4, n_feats=8)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.mul_(0.5)
    path = foreign(tmp_path / "net.onnx", network)
    with pytest.raises(UserError, match="wants them upscaled beforehand; give the scale"):
        export(path, "onnx", tmp_path / "out.onnx", value_range=1)
    report = export(path, "onnx", tmp_path / "out.onnx", precision="int8", value_range=1, scale=3)
    assert report.quality is not None
    card = read_card_of(tmp_path / "out.onnx")
    assert (card.scale, card.pre_upscaled, card.luma_only) == (3, True, True)


class Halves(torch.nn.Module):
    """Takes sides that are multiples of four."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            torch.nn.Conv2d(n, m, 3, padding=1) for n, m in ((48, 8), (8, 8), (8, 192))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(torch.nn.functional.pixel_unshuffle(x, 4)))
        return torch.nn.functional.pixel_shuffle(self.third(torch.relu(self.second(y))), 8)


def test_multiples_of_sides_are_found(tmp_path: Path) -> None:
    path = foreign(tmp_path / "net.onnx", sr.wrap(Halves(), value_range=1))
    report = export(path, "onnx", tmp_path / "out.onnx", precision="int8", value_range=1)
    assert read_card_of(tmp_path / "out.onnx").size_multiple == 4
    assert report.parity is not None
    assert report.parity.sizes == [(24, 20), (20, 32), (136, 152)]


class Attends(torch.nn.Module):
    """What others' networks bring: normalisation, attention, GELU, resized skips, PReLU."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.head, self.body, self.tail = (
            nn.Conv2d(n, m, 3, padding=1) for n, m in ((3, 8), (8, 8), (8, 3))
        )
        self.norm, self.act = nn.BatchNorm2d(8), nn.PReLU(8)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        functional = torch.nn.functional
        y = self.head(x)
        y = y + self.body(self.act(self.norm(y))) * self.gate(y)
        y = functional.gelu(functional.interpolate(y, scale_factor=2.0, mode="nearest"))
        return self.tail(y) + functional.interpolate(x, scale_factor=2.0, mode="bicubic")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_operators_of_other_networks(precision: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.onnx.export(
        Attends().eval(), (torch.rand(1, 3, 24, 24),), tmp_path / "net.onnx", opset_version=12,
        dynamo=False, input_names=["x"], output_names=["y"],
        dynamic_axes={name: {2: f"{name}h", 3: f"{name}w"} for name in "xy"},
    )  # fmt: skip
    path = tmp_path / "out.onnx"
    report = export(tmp_path / "net.onnx", "onnx", path, precision=precision, value_range=1)
    assert report.quality is not None
    assert abs(report.quality["drop"]) < 0.1
    assert ends(path)[0][2] == [1, 3, "xh", "xw"]


# Refusals


def save(path: Path, nodes: list[onnx.NodeProto], **changes: Any) -> Path:
    """A graph from ``x`` to ``y`` around a convolution's weights."""
    kind = changes.get("kind", TensorProto.FLOAT)
    shape = changes.get("shape", [1, 3, "h", "w"])
    value = helper.make_tensor_value_info
    weights = np.zeros((3, 3, 1, 1), np.float32)
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", kind, shape), *changes.get("more", [])],
        [value("y", kind, changes.get("out", [1, 3, "a", "b"]))],
        [numpy_helper.from_array(weights, "w"), *changes.get("stored", [])],
    )
    opsets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(model, path)
    return path


def conv(given: str, made: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [given, "w"], [made])


def scalar(name: str, value: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def eight_bits(path: Path) -> Path:
    grid = ["s", "z"]
    return save(
        path,
        [
            helper.make_node("QuantizeLinear", ["x", *grid], ["q"], name="rounds"),
            helper.make_node("DequantizeLinear", ["q", *grid], ["d"]),
            conv("d", "y"),
        ],
        stored=[scalar("s", np.float32(1)), scalar("z", np.uint8(0))],
    )


def branching(path: Path) -> Path:
    value = helper.make_tensor_value_info
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Identity", ["x"], [name])],
            name,
            [],
            [value(name, TensorProto.FLOAT, None)],
        )
        for name in ("then", "else")
    }
    nodes = [helper.make_node("If", ["c"], ["i"], **branches), conv("i", "y")]
    return save(path, nodes, stored=[scalar("c", np.bool_(True))])


def of_one_runtime(path: Path) -> Path:
    fused = helper.make_node(
        "FusedConv", ["x", "w"], ["y"], domain="com.microsoft", activation="Relu"
    )
    return save(path, [fused])


def two_inputs(path: Path) -> Path:
    more = [helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1, 3, "h", "w"])]
    return save(path, [helper.make_node("Add", ["x", "x2"], ["a"]), conv("a", "y")], more=more)


def channels_last(path: Path) -> Path:
    return save(
        path,
        [
            helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
            conv("t", "c"),
            helper.make_node("Transpose", ["c"], ["y"], perm=[0, 2, 3, 1]),
        ],
        shape=[1, "h", "w", 3],
        out=[1, "a", "b", 3],
    )


def outside(path: Path) -> Path:
    save(path, [conv("x", "y")])
    model = onnx.load(path)
    (weights,) = model.graph.initializer
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")
    path.write_bytes(model.SerializeToString())
    return path


def in_bfloat16(path: Path) -> Path:
    export_onnx(load_network(TRAINED), path, precision="bf16", check=False)
    return path


def of_four(path: Path) -> Path:
    return foreign(path, batch=4)


def unknown_operator(path: Path) -> Path:
    return save(path, [helper.make_node("NoSuch", ["x"], ["y"], domain="somebody.else")])


def no_file(path: Path) -> Path:
    return path


def text(path: Path) -> Path:
    path.write_text("no graph")
    return path


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (eight_bits, r"layers in 8 bits already \(QuantizeLinear 'rounds'\); give the fp32 file"),
        (branching, r"chooses what it computes while it runs \(If\), so its layers cannot"),
        (of_one_runtime, r"one runtime alone has \(FusedConv of 'com.microsoft'\)"),
        (two_inputs, "has 2 inputs and 1 outputs"),
        (channels_last, r"is laid out \[N, H, W, C\].*put a Transpose at either end"),
        (outside, "is not an ONNX file that onnxruntime"),
        (in_bfloat16, "is in bf16 already; give the fp32 file"),
        (of_four, "takes 4 images at a time and no other number; export it with a batch of 1"),
        (unknown_operator, "is not an ONNX file that onnxruntime"),
        (no_file, "There is no file"),
        (text, "is not an ONNX file that onnxruntime"),
    ],
)
def test_files_that_are_refused(make: Any, sentence: str, tmp_path: Path) -> None:
    path = make(tmp_path / "net.onnx")
    with pytest.raises(UserError, match=sentence) as told:
        export(path, "onnx", tmp_path / "b" / "out.onnx", precision="int8", value_range=1, scale=2)
    assert "\n" not in str(told.value)
    assert not list((tmp_path / "b").iterdir())


def with_function(path: Path, domain: str = "somebody") -> Path:
    """A graph whose convolution is within a function of its own."""
    call = helper.make_node("Filter", ["x", "w"], ["y"], domain=domain)
    save(path, [call])
    model = onnx.load(path)
    body = [helper.make_node("Conv", ["a", "b"], ["c"]), helper.make_node("Relu", ["c"], ["d"])]
    opset = helper.make_opsetid("", 22)
    model.functions.append(helper.make_function(domain, "Filter", ["a", "b"], ["d"], body, [opset]))
    model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, path)
    return path


def test_functions_within_the_file_are_written_out(tmp_path: Path) -> None:
    path = with_function(tmp_path / "net.onnx")
    found = onnx_adopt.adopt(path, value_range=1, scale=2)
    assert [node.op_type for node in found.model.graph.node] == ["Conv", "Relu"]
    assert found.names == {"lr": "x", "sr": "y"}
    assert found.card.pre_upscaled


def test_weights_that_no_file_can_hold(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_adopt, "_LARGEST", 1000)
    with pytest.raises(UserError, match="has more than 2 GB of weights"):
        export(plain, "onnx", tmp_path / "out.onnx", value_range=255)


def test_types_that_are_not_known(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_adopt, "tensor_types", lambda model: {})
    with pytest.raises(UserError, match=r"The type of '.+' in '.+' cannot be inferred \(Conv\)"):
        export(plain, "onnx", tmp_path / "out.onnx", value_range=255)


def test_a_simplifier_that_fails(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(model: onnx.ModelProto) -> onnx.ModelProto:
        raise RuntimeError("in C++ : no such thing")

    monkeypatch.setattr(onnx_adopt, "simplified_graph", fails)
    with pytest.raises(UserError, match=r"cannot be simplified \(no such thing\)"):
        export(plain, "onnx", tmp_path / "out.onnx", value_range=255)


def test_a_range_that_nothing_shows_is_asked_for(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = foreign(tmp_path / "net.onnx", create("ledsr", n_blocks=1, n_feats=4))
    with pytest.raises(UserError, match=r"run to 1 or 255.*give --value-range"):
        export(path, "onnx", tmp_path / "out.onnx")


def test_sparse_smsr_is_refused(tmp_path: Path) -> None:
    network = create("smsr", n_modules=1, n_layers=2, n_feats=8)
    assert isinstance(network.module, SMSR)
    export_onnx(network, tmp_path / "net.onnx", sparse=True, check=False)
    with pytest.raises(UserError, match=r"\(If '.*\).*SMSR: without --sparse"):
        export(tmp_path / "net.onnx", "onnx", tmp_path / "out.onnx", precision="int8")


def test_the_limit_holds(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(SrdeployError, match=r"more than the 1e-09 allowed; the layers that cost"):
        export(plain, "onnx", tmp_path / "o.onnx", precision="int8", value_range=255, max_drop=1e-9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_graph_that_is_read_wrongly_is_noticed(
    precision: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simplified = onnx_adopt.simplified_graph

    def wrongly(model: onnx.ModelProto) -> onnx.ModelProto:
        found = simplified(model)
        tensor = found.graph.initializer[0]
        tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        return found

    monkeypatch.setattr(onnx_adopt, "simplified_graph", wrongly)
    with pytest.raises(SrdeployError, match=r"The new ONNX file differs from 'net\.onnx' by"):
        export(plain, "onnx", tmp_path / "out.onnx", precision=precision, value_range=255)
    assert list(tmp_path.iterdir()) == []


def test_the_file_that_is_read_is_not_replaced(plain: Path, tmp_path: Path) -> None:
    before = plain.read_bytes()
    with pytest.raises(UserError, match="is the file that is read"):
        export(plain, "onnx", plain, precision="int8", value_range=255)
    assert plain.read_bytes() == before


@pytest.mark.parametrize(
    ("target", "options", "sentence"),
    [
        (
            "coreml",
            {},
            "--target coreml starts from a network, not from an .onnx file .coremltools",
        ),
        ("sparse-runner", {}, "--target sparse-runner starts from a network.*: give the network"),
        ("onnx", {"opset": 17}, "--opset is for networks; leave it out"),
        ("onnx", {"exporter": "dynamo"}, "--exporter is for networks"),
        ("onnx", {"sparse": True}, "choose between forms of SMSR networks"),
    ],
)
def test_what_starts_from_a_network_alone(
    target: str, options: dict[str, Any], sentence: str, plain: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=sentence):
        export(plain, target, tmp_path / "a.b", **options)


def test_what_is_about_files_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--value-range is for \.onnx files; leave it out"):
        export(create("ledsr"), "onnx", tmp_path / "a.onnx", value_range=255)


def test_fp16_tells_that_the_range_is_not_folded(plain: Path, tmp_path: Path) -> None:
    report = convert_onnx(plain, tmp_path / "a.onnx", precision="fp16", value_range=255)
    assert onnx_convert.NOT_FOLDED in report.notes


def test_equal_files_give_equal_bytes(plain: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        convert_onnx(plain, tmp_path / name, precision="int8", value_range=255)
    assert sha256(tmp_path / "a.onnx") == sha256(tmp_path / "b.onnx")


def test_an_inner_tensor_may_be_called_as_our_ends(plain: Path, tmp_path: Path) -> None:
    model = onnx.load(plain)
    inner = model.graph.node[0].output[0]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["sr" if name == inner else name for name in names]
    onnx.save(model, tmp_path / "net.onnx")
    export(tmp_path / "net.onnx", "onnx", tmp_path / "out.onnx", value_range=255)
    assert ends(tmp_path / "out.onnx") == ends(plain)


def test_in_python(plain: Path, tmp_path: Path) -> None:
    reports = sr.export(
        str(plain), tmp_path / "net.onnx", precision=["fp16", "int8"], value_range=255
    )
    assert [r.precision for r in reports] == ["fp16", "int8"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net-fp16.onnx", "net-int8.onnx"]


# Engines


@pytest.mark.parametrize(("precision", "kind"), [("int8", "int8"), ("fp16", "fp16")])
def test_what_an_engine_is_built_of_is_converted(
    precision: str, kind: str, plain: Path, tmp_path: Path
) -> None:
    place = tmp_path / "net.engine.onnx"
    card, written, _ = write_source(plain, place, precision=precision, value_range=255.0)
    assert written is not None
    assert written.precision == precision
    assert card.value_range == 255.0
    assert kind in convolution_kinds(onnx.load(place)).values()
    if precision == "int8":  # TensorRT reads no other activations
        zeros = [t for t in onnx.load(place).graph.initializer if t.name.endswith("_zero")]
        assert {t.data_type for t in zeros} == {TensorProto.INT8}


@pytest.mark.parametrize("precision", [None, "fp32", "int8"])
def test_what_is_no_float32_is_built_as_it_is(precision: str | None, tmp_path: Path) -> None:
    path = foreign(tmp_path / "net.onnx", half=True)
    _, written, _ = write_source(path, tmp_path / "a.onnx", precision=precision, value_range=255.0)
    assert written is None
    assert (tmp_path / "a.onnx").read_bytes() == path.read_bytes()
