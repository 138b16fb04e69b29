"""bfloat16: written as asked, computed where it can be, interpreted elsewhere, else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.layers import onnx_activations
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision.bf16 import OPSET, last_results, to_bfloat16
from srdeploy.exporting.precision.graph import convolution_kinds
from srdeploy.exporting.probe import run_torch
from srdeploy.exporting.run import export
from srdeploy.exporting.tensorrt.export import NO_BF16, RTX_DEFAULT, rtx_capabilities
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.models.registry import create
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.onnx.reference import OnnxReferenceSession, widen
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.runtime.open import BF16_RUNTIMES, open_session
from srdeploy.runtime.table import OPENVINO, RUNTIMES
from srdeploy.runtime.tensorrt.sidecar import read_sidecar
from tests.exporting.conftest import SMALL

needs_openvino = pytest.mark.skipif(
    not OPENVINO.availability(), reason=OPENVINO.availability().reason
)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return create("ledsr", scale=2, n_blocks=2, n_feats=16)


@pytest.fixture(scope="module")
def file(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bf16") / "net.onnx"
    report = export_onnx(network, path, precision="bf16")
    assert (report.precision, report.opset) == ("bf16", OPSET)
    assert report.parity is not None
    assert report.parity.relative < 5e-2
    assert report.quality is not None
    assert abs(report.quality["drop"]) < 0.1
    return path


def test_the_file_is_in_bfloat16(file: Path) -> None:
    onnx.checker.check_model(str(file), full_check=True)  # its types agree, throughout
    model = onnx.load(file)
    assert model.opset_import[0].version == OPSET
    kinds = convolution_kinds(model)
    assert kinds.pop("/add_mean/Conv") == "fp32"  # the last arithmetic keeps its digits
    assert set(kinds.values()) == {"bf16"}
    assert [
        value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)
    ] == [TensorProto.FLOAT] * 2
    card = open_session(file).card
    assert card.history[-1]["precision"] == "bf16"
    assert card.history[-1]["opset"] == OPSET


@pytest.mark.parametrize("arch", SMALL)
def test_every_architecture(arch: str, tmp_path: Path) -> None:
    network = create(arch, scale=3, **SMALL[arch])
    path = tmp_path / "net.onnx"
    export_onnx(network, path, precision="bf16", check=False)
    onnx.checker.check_model(str(path), full_check=True)
    x = photograph(network.card, (12, 16))
    with OnnxReferenceSession(path, threads=1) as session:
        assert "bf16" in (session.precision or "")
        reach = max(network.card.value_range, np.abs(run_torch(network, x)).max())
        assert np.abs(session.run(x) - run_torch(network, x)).max() / reach < 3e-2


@pytest.mark.parametrize("form", ["reshape", "deconv"])
def test_every_form_of_pixel_shuffle(form: str, tmp_path: Path, network: Network) -> None:
    files = {name: tmp_path / f"{name}.onnx" for name in ("crd", form)}
    for name, path in files.items():
        export_onnx(network, path, precision="bf16", pixel_shuffle=name, check=False)
        onnx.checker.check_model(str(path), full_check=True)
    x = photograph(network.card, (12, 16))
    found = [OnnxReferenceSession(path, threads=1).run(x) for path in files.values()]
    np.testing.assert_array_equal(*found)  # pixels move, in bfloat16 as elsewhere


def test_onnxruntime_has_no_bfloat16_convolution(file: Path) -> None:
    """The day it has one, it becomes what opens these files."""
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED.*Conv"):
        ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    with pytest.raises(UserError, match=r"is in bf16, for which .* on cpu; --runtime openvino"):
        OnnxSession(file)
    with pytest.raises(UserError, match="is in bf16"):
        open_session(file, runtime="onnxruntime")


def test_the_interpreter_rounds_as_bfloat16_does(tmp_path: Path) -> None:
    """Against numpy's own bfloat16, bit by bit: products of two are exact in float32."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 1, 1, 1)).astype(ml_dtypes.bfloat16)
    layer = nn.Conv2d(1, 4, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.astype(np.float32)))
    card = Card(arch="tests:own", scale=2, scales=(2,), channels=1, value_range=1.0)
    module = nn.Sequential(layer, nn.PixelShuffle(2), nn.Conv2d(1, 1, 1, bias=False)).eval()
    export_onnx(Network(module, card), tmp_path / "net.onnx", precision="bf16", check=False)
    x = rng.random((1, 1, 9, 7), np.float32)
    inner = onnx_activations(tmp_path / "net.onnx", x)["0"]
    expected = x.astype(ml_dtypes.bfloat16) * weight.reshape(1, 4, 1, 1)
    np.testing.assert_array_equal(inner, expected.astype(np.float32))
    assert np.any(inner != x * weight.reshape(1, 4, 1, 1).astype(np.float32))  # it did round


def test_widening_keeps_names_and_leaves_float_graphs_alone(file: Path, network: Network) -> None:
    wide = widen(onnx.load(file))
    names = {name for node in wide.graph.node for name in node.output}
    assert {name for node in onnx.load(file).graph.node for name in node.output} <= names
    assert not any(t.data_type == TensorProto.BFLOAT16 for t in wide.graph.initializer)
    layers = onnx_activations(file, photograph(network.card, (8, 8)))
    assert {"head.0", "body.0.body.0", "body.1.body.2"} <= set(layers)


@needs_openvino
def test_openvino_computes_it(file: Path, network: Network) -> None:
    """Where the processor has bfloat16 units; what ran is read back from the compiled network."""
    with open_session(file, runtime="openvino", threads=1) as session:
        if session.precision == "fp32":
            pytest.skip("this processor has no bfloat16, OpenVINO computes in float32")
        assert session.precision == "bf16+fp32"
        real = evaluate(session, "builtin", 2, progress=False).psnr
        x = photograph(network.card, (24, 24))
        y = session.run(x)
    with OnnxReferenceSession(file, threads=1) as session:
        assert real == pytest.approx(evaluate(session, "builtin", 2, progress=False).psnr, abs=0.01)
        assert np.abs(y - session.run(x)).max() < 0.02 * network.card.value_range
    with open_session(file, threads=1) as session:  # nobody was named, so the one with a speed
        assert session.runtime == "openvino"


@needs_openvino
def test_openvino_runs_float_files_in_float(network: Network, tmp_path: Path) -> None:
    """Left alone it would use bfloat16 where the processor can."""
    export_onnx(network, tmp_path / "net.onnx", check=False)
    x = photograph(network.card, (24, 24))
    with open_session(tmp_path / "net.onnx", runtime="openvino", threads=1) as session:
        assert session.precision == "fp32"
        np.testing.assert_allclose(session.run(x), run_torch(network, x), atol=1e-2)
    export_onnx(network, tmp_path / "int8.onnx", precision="int8", check=False)
    with open_session(tmp_path / "int8.onnx", runtime="openvino", threads=1) as session:
        assert session.precision == "int8+fp32"


def test_without_openvino_the_interpreter_opens_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srdeploy.runtime.open.BF16_RUNTIMES", BF16_RUNTIMES[1:])
    with open_session(file, threads=1) as session:
        assert session.runtime == "onnx-reference"
        assert not RUNTIMES[session.runtime].timed


def test_who_measured_is_told(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srdeploy.runtime.open.BF16_RUNTIMES", ("onnx-reference",))
    report = export_onnx(network, tmp_path / "net.onnx", precision="bf16")
    assert any("no runtime here computes bf16" in note for note in report.notes)
    with pytest.raises(SrdeployError, match="In bf16 the network loses"):
        export_onnx(network, tmp_path / "b.onnx", precision="bf16", max_drop=1e-9, data="builtin")


def test_what_was_not_written_is_noticed(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srdeploy.exporting.precision.write.to_bfloat16", lambda model: (model, []))
    with pytest.raises(SrdeployError, match="bf16 was asked, but the graph"):
        export_onnx(network, tmp_path / "net.onnx", precision="bf16", check=False)
    assert not list(tmp_path.iterdir())


def test_only_the_last_arithmetic_stays_in_float32() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,3,8,8] lr) => (float[1,3,8,8] sr) {
            a = Relu(lr) b = Add(a, lr) c = Transpose<perm = [0,1,3,2]>(b) sr = Relu(c) }"""
    )
    assert last_results(model) == {"sr"}
    model.graph.node[-1].op_type = "Clip"
    assert last_results(model) == {"sr", "c", "b"}
    narrow, kept = to_bfloat16(model)
    assert len(kept) == 3
    assert [n.op_type for n in narrow.graph.node].count("Cast") == 2
    stored = [numpy_helper.to_array(t) for t in narrow.graph.initializer]
    assert not stored


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("coreml", "--target coreml has no bf16: coremltools converts to float32 and float16 only"),
        ("litert", "--target litert has no bf16: LiteRT's operations have no bfloat16; use fp16"),
    ],
)
def test_targets_without_it_say_why(
    target: str, message: str, network: Network, tmp_path: Path
) -> None:
    suffix = {"coreml": ".mlpackage", "litert": ".tflite"}[target]
    with pytest.raises(UserError, match=message):
        export(network, target, tmp_path / f"net{suffix}", precision="bf16")


def test_coremltools_has_none_indeed() -> None:
    """The reason that the table gives, asked of the tool itself."""
    ct: Any = pytest.importorskip("coremltools")
    assert {member.name for member in ct.precision} == {"FLOAT16", "FLOAT32"}
    module = nn.Conv2d(3, 3, 3, padding=1).bfloat16().eval()
    traced = torch.jit.trace(module, torch.rand(1, 3, 8, 8).bfloat16())
    with pytest.raises(TypeError, match="unsupported ScalarType BFloat16"):
        ct.convert(traced, inputs=[ct.TensorType(shape=(1, 3, 8, 8))], convert_to="mlprogram")


@pytest.mark.usefixtures("rtx")
def test_engines(network: Network, tmp_path: Path) -> None:
    """Real builds; Turing has no bfloat16, so the default leaves it out and asking is refused."""
    report = export(network, "trt-rtx", tmp_path / "net.engine", precision="bf16", sizes="24x24")
    facts = read_sidecar(tmp_path / "net.engine")
    assert facts.capabilities == tuple(name for name in RTX_DEFAULT if name not in NO_BF16)
    assert facts.convolutions == {"bf16": 8, "fp32": 1}
    assert any("bf16" in kinds for kinds in report.operators)
    with pytest.raises(UserError, match=r"compute capability 7\.5 have no bfloat16"):
        export(
            network, "trt-rtx", tmp_path / "t.engine", precision="bf16", capabilities=("7.5", "8.9")
        )
    assert rtx_capabilities(("7.5",), in_bf16=False) == ("7.5",)


@pytest.mark.usefixtures("rtx")
def test_turing_is_refused_by_the_builder_indeed(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("srdeploy.exporting.tensorrt.export.NO_BF16", ())
    with pytest.raises(SrdeployError, match=r"Cannot compile for target.*sm75"):
        export(
            network, "trt-rtx", tmp_path / "t.engine", precision="bf16", capabilities=("7.5",),
            sizes="24x24",
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
