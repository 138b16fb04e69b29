"""TFLite files in LiteRT's interpreter: they are their networks, in every precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import LITERT

if not LITERT.availability():
    pytest.skip("pip install 'srdeploy[litert]' to run this", allow_module_level=True)

from srdeploy.exporting.litert.accept import DELEGATES, check_file
from srdeploy.exporting.litert.convert import program_of
from srdeploy.exporting.litert.export import convert_onnx_to_litert, export_litert
from srdeploy.exporting.litert.flatbuffer import to_bytes
from srdeploy.exporting.litert.quantise import Quantiser
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.run import export
from srdeploy.models.network import Network
from srdeploy.models.quantised import Range
from srdeploy.runtime.litert_session import interpreter_of
from srdeploy.testing.pictures import measured_on, write_middles
from tests.exporting.litert.test_convert import FUNCTIONS, SIZE, Made, graph


@pytest.mark.parametrize("name", FUNCTIONS)
def test_litert_computes_what_torch_does(name: str, tmp_path: Path) -> None:
    function, layers = FUNCTIONS[name]
    torch.manual_seed(0)
    module = Made(function, *layers).eval()
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    x = torch.randn(1, 3, *SIZE)
    program = program_of(graph(module))
    content = to_bytes(program)
    (tmp_path / "net.tflite").write_bytes(content)
    interpreter = interpreter_of(content)
    interpreter.set_tensor(
        interpreter.get_input_details()[0]["index"],
        np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1)),
    )
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    with torch.no_grad():
        expected = module(x).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-3)
    refused = check_file(tmp_path / "net.tflite").refused
    known = {"windows": {"BATCH_MATMUL"}, "einsum": {"BATCH_MATMUL"}, "backwards": {"REVERSE_V2"}}
    assert {one.operation for one in refused} == known.get(name, set())


SMALL = [
    ("vdsr", {"n_layers": 3, "n_feats": 4}),
    ("edsr", {"n_blocks": 1, "n_feats": 8}),
    ("ledsr", {"n_blocks": 1, "n_feats": 8}),
    ("rirsr", {"n_groups": 1, "n_blocks": 1, "n_feats": 8}),
]


@pytest.mark.parametrize(("arch", "config"), SMALL)
def test_architectures_at_x3(arch: str, config: dict, tmp_path: Path) -> None:
    network = create(arch, scale=3, **config)
    report = export_litert(network, tmp_path / "net.tflite", sizes="23x17")
    assert report.parity is not None
    assert report.parity.relative < 1e-5
    assert report.notes[-2:] == [
        f"{one} delegate: takes {(count := sum(report.operators.values()))} of {count} operations"
        for one in DELEGATES
    ]
    with open_session(tmp_path / "net.tflite", threads=1) as session, open_session(network) as own:
        assert (session.runtime, session.precision) == ("litert", "fp32")
        assert session.card.model_copy(update={"history": []}) == network.card
        assert session.card.history[-1]["delegates"] == dict.fromkeys(DELEGATES, "all operations")
        x = np.random.default_rng(0).uniform(0, 1, (2, network.card.channels, 17, 23))
        x = (x * network.card.value_range).astype(np.float32)
        np.testing.assert_allclose(session.run(x), own.run(x), atol=1e-4 * network.card.value_range)
        with pytest.raises(UserError, match="takes 1x"):
            session.run(x[..., :20].copy())


@pytest.mark.parametrize("precision", ["fp16", "dynamic", "int8", "mixed"])
def test_precisions_of_a_shipped_network(precision: str, tmp_path: Path) -> None:
    from srdeploy.models.load import load_network

    network = load_network("edsr-s-x2-p70")
    path = tmp_path / "net.tflite"
    (tmp_path / "set").mkdir()
    with measured_on(write_middles(tmp_path / "set")):
        report = export(network, "litert", path, precision=precision, sizes="48x48")
        assert report.quality is not None
        assert report.quality["drop"] < {"fp16": 0.005, "dynamic": 0.2, "mixed": 0.05}.get(
            precision, 1.5
        )
        with open_session(path, threads=1) as session:
            computed = {"mixed": "int8+fp32"}.get(precision, precision)
            assert set((session.precision or "").split("+")) == set(computed.split("+"))
        assert not check_file(path).refused
        if precision == "int8":
            assert {row["precision"] for row in report.layers} == {"int8"}
            with pytest.raises(
                SrdeployError, match=r"In int8 .* loses .*use --precision mixed, or"
            ):
                export(network, "litert", path, precision=precision, sizes="48x48", max_drop=0.01)


def test_quantised_ends(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    path = tmp_path / "net.tflite"
    report = export_litert(
        network, path, sizes="16x16", precision="int8", quantised_ends=True
    )  # fmt: skip
    assert not report.operators.keys() & {"QUANTIZE", "DEQUANTIZE"}
    interpreter = interpreter_of(path)
    assert interpreter.get_input_details()[0]["dtype"] == np.int8
    assert interpreter.get_input_details()[0]["quantization"] == (1.0, -128)
    assert interpreter.get_output_details()[0]["dtype"] == np.int8
    with open_session(path) as session:
        black = session.run(np.zeros((1, 3, 16, 16), np.float32))
        assert black.min() >= 0
    with pytest.raises(UserError, match="goes with --precision int8 and mixed"):
        export_litert(network, path, quantised_ends=True)


def test_an_onnx_file_of_any_size(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    export_onnx(network, tmp_path / "net.onnx", check=False)
    report = convert_onnx_to_litert(tmp_path / "net.onnx", tmp_path / "net.tflite", sizes="20x14")
    assert report.parity is not None
    assert report.parity.relative < 1e-5
    with open_session(tmp_path / "net.tflite") as session, open_session(network) as own:
        x = np.random.default_rng(0).uniform(0, 255, (1, 3, 14, 20)).astype(np.float32)
        np.testing.assert_allclose(session.run(x), own.run(x), atol=0.02)


def test_an_onnx_file_of_one_size(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    export_onnx(network, tmp_path / "net.onnx", check=False, sizes="20x14")
    target = tmp_path / "net.tflite"
    assert "one input size, 20x14" in convert_onnx_to_litert(tmp_path / "net.onnx", target).notes
    with pytest.raises(UserError, match=r"takes 20x14 only; leave --input out"):
        convert_onnx_to_litert(tmp_path / "net.onnx", target, sizes="24x14")


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    first = export_litert(network, tmp_path / "a.tflite", sizes="16x16")
    assert export_litert(network, tmp_path / "b.tflite", sizes="16x16").sha256 == first.sha256


def test_what_delegates_refuse_is_named(tmp_path: Path) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 4, 1)
            self.tail = nn.Conv2d(4, 12, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.head(x)
            lines = x.flatten(2)
            mixed = (lines @ lines.transpose(1, 2)).softmax(-1) @ lines
            return nn.functional.pixel_shuffle(self.tail(mixed.view(x.shape)), 2)

    card = create("ledsr", scale=2, n_blocks=1, n_feats=4).card
    network = Network(Attention().eval(), card.model_copy(update={"value_range": 1.0, "arch": "t"}))
    report = export_litert(network, tmp_path / "net.tflite", sizes="8x8")
    (gpu, nnapi) = report.notes[-2:]
    assert gpu.startswith("GPU delegate: takes ")
    assert "; not " not in gpu
    assert "BATCH_MATMUL of '/MatMul' (it is not on the delegate's list): run it by" in nnapi


def test_refused_sizes_and_options(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    with pytest.raises(UserError, match="one size or any"):
        export_litert(network, tmp_path / "net.tflite", sizes="8..16")
    with pytest.raises(UserError, match="goes with int8 and mixed"):
        export_litert(network, tmp_path / "a.tflite", precision="dynamic", calibration_method="mse")
    with pytest.raises(UserError, match="finds ranges while it runs"):
        export_litert(network, tmp_path / "a.tflite", precision="dynamic", calibration="builtin")
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    export_litert(network, tmp_path / "net.tflite", sizes="16x16")
    whole = (tmp_path / "net.tflite").read_bytes()
    for data in (whole[: len(whole) // 2], whole[:40], b"", b"hello world"):
        (tmp_path / "bad.tflite").write_bytes(data)
        with pytest.raises(UserError, match=r"truncated|no TFLite"):
            open_session(tmp_path / "bad.tflite")


def test_unknown_operations_are_refused_in_a_file(tmp_path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    program = program_of(graph(Made(lambda x: x.sigmoid())))
    program.ops[-1].kind = "COS"
    path = tmp_path / "net.tflite"
    path.write_bytes(to_bytes(program))
    assert hasattr(schema.BuiltinOperator, "COS")
    found = check_file(path, {program.output.name: "the last layer"})
    assert [str(one) for one in found.by("GPU")] == [
        "COS of 'the last layer' (it is not on the delegate's list): replace it in the network's "
        "code, or run it on the CPU"
    ]
    assert len(found.by("NNAPI")) == 1
    onnx.checker.check_model(graph(Made(lambda x: x)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_litert_loads_every_operation_in_8_bits(name: str) -> None:
    function, layers = FUNCTIONS[name]
    torch.manual_seed(0)
    program = program_of(graph(Made(function, *layers).eval()))
    ranges = {tensor.name: Range(-4.0, 4.0) for tensor in program.tensors()}
    written = Quantiser(program, ranges, value_range=1.0).written()
    interpreter = interpreter_of(to_bytes(written))
    interpreter.invoke()
