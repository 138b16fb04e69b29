"""What OpenVINO is asked for and what it tells, of a stand-in; and the real one where it is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.runtime.openvino_session import OpenvinoSession
from srdeploy.runtime.table import Availability, Module

CARD = Card(arch="t", scale=2, scales=(2,), channels=3, value_range=1.0)


class Value:
    """Anything whose parts are asked for by methods."""

    def __init__(self, **told: Any) -> None:
        for name, answer in told.items():
            setattr(self, name, lambda *_, answer=answer: answer)


def end(name: str, kind: str = "f32", shape: tuple[int | None, ...] = (1, 3, None, 8)) -> Value:
    sides = [SimpleNamespace(is_static=n is not None, get_length=lambda n=n: n) for n in shape]
    return Value(get_any_name=name, get_element_type=Value(get_type_name=kind),
                 get_partial_shape=sides)  # fmt: skip


def written(kind: str, name: str = "Convolution") -> Value:
    """An operation of the file, whose weights have a type."""
    source = Value(get_source_output=Value(get_element_type=Value(get_type_name=kind)))
    return Value(get_type_name=name, input=source)


def built(kind: str, layer: str = "Convolution") -> Value:
    """A layer of the compiled network."""
    info = {"layerType": SimpleNamespace(value=layer),
            "runtimePrecision": SimpleNamespace(value=kind)}  # fmt: skip
    return Value(get_rt_info=info)


class OpenVINO:
    """The module ``openvino``, as far as it is used."""

    __version__ = "2099.1"

    def __init__(self) -> None:
        self.operations = [written("f32"), Value(get_type_name="Relu")]
        self.layers = [built("f32"), built("f32", "Eltwise")]
        self.capabilities = ["FP32", "BF16"]
        self.card: str | None = CARD.to_json()
        self.ends = [[end("x")], [end("y")]]
        self.asked: list[Any] = []
        self.cancelled = 0
        self.fails: Exception | None = None

    def Core(self) -> OpenVINO:
        return self

    def get_property(self, device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return self.capabilities

    def read_model(self, path: str) -> Any:
        if self.fails is not None:
            raise self.fails
        self.asked.append(path)
        model = Value(
            get_ops=self.operations,
            has_rt_info=self.card is not None,
            get_rt_info=SimpleNamespace(value=self.card),
        )
        model.has_rt_info = lambda path: path == ["framework", CARD_KEY] and self.card is not None
        model.inputs, model.outputs = self.ends
        return model

    def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> Any:
        self.asked += [device, options]
        return Value(
            create_infer_request=self, get_runtime_model=Value(get_ops=self.layers)
        )  # fmt: skip

    def infer(self, inputs: list[np.ndarray], share_inputs: bool) -> list[np.ndarray]:
        assert share_inputs
        (x,) = inputs
        return [x.repeat(2, 2).repeat(2, 3)]

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OpenVINO:
    found = OpenVINO()
    monkeypatch.setitem(sys.modules, "openvino", found)
    monkeypatch.setattr(Module, "availability", lambda self: Availability(True, ""))
    (tmp_path / "net.onnx").touch()
    return found


def test_what_it_is_asked_for(openvino: OpenVINO, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with OpenvinoSession(path, threads=3) as session:
        assert openvino.asked == [
            str(path),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": 3,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",
            },
        ]
        assert (session.runtime, session.threads, session.card) == ("openvino", 3, CARD)
        x = np.random.default_rng(0).random((1, 3, 4, 8), np.float32)
        np.testing.assert_array_equal(session.run(x), x.repeat(2, 2).repeat(2, 3))
        assert str(session.sizes) == "8x1..8x1048576"
        session._stop()
        assert openvino.cancelled == 1
    assert session._request is session._compiled is None


def test_threads_of_the_environment(
    openvino: OpenVINO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    OpenvinoSession(tmp_path / "net.onnx")
    assert openvino.asked[2]["INFERENCE_NUM_THREADS"] == 5


@pytest.mark.parametrize(
    ("kinds", "capable", "asked"),
    [
        (["bf16"], True, "bf16"),
        (["bf16", "bf16"], True, "bf16"),
        (["bf16"], False, "f32"),
        (["bf16", "f32"], True, "f32"),
        (["f32"], True, "f32"),
        ([], True, "f32"),
    ],
)
@pytest.mark.parametrize("name", ["Convolution", "GroupConvolution", "ConvolutionBackpropData"])
def test_the_file_decides_the_precision(
    openvino: OpenVINO, tmp_path: Path, kinds: list[str], capable: bool, asked: str, name: str
) -> None:
    openvino.operations = [written("f32", "Add"), *(written(kind, name) for kind in kinds)]
    openvino.capabilities = ["FP32", *(["BF16"] if capable else [])]
    OpenvinoSession(tmp_path / "net.onnx")
    assert openvino.asked[2]["INFERENCE_PRECISION_HINT"] == asked


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([built("f32")], "fp32"),
        ([built("u8"), built("f32"), built("i8")], "int8+fp32"),
        ([built("f32"), built("u8"), built("i8")], "int8+fp32"),  # the commonest first
        ([built("bf16"), built("f16", "Deconvolution"), built("bf16")], "bf16+fp16"),
        ([built("f64")], "f64"),
        ([built("f32", "Pooling")], None),
    ],
)
def test_what_it_computes_in_is_read_back(
    openvino: OpenVINO, tmp_path: Path, layers: list[Value], told: str | None
) -> None:
    openvino.layers = layers
    assert OpenvinoSession(tmp_path / "net.onnx").precision == told


def test_ends_of_its_types(openvino: OpenVINO, tmp_path: Path) -> None:
    openvino.ends = [[end("x", "f16")], [end("y", "f16")]]
    with OpenvinoSession(tmp_path / "net.onnx") as session:
        assert session._input.dtype == "float16"
        assert session._input.shape == (1, 3, None, 8)
        assert session._output.name == "y"
    openvino.ends = [[end("x", "u8")], [end("y")]]
    with pytest.raises(UserError, match="takes u8 of shape 1x3xNonex8"):
        OpenvinoSession(tmp_path / "net.onnx")
    openvino.ends = [[end("x")] * 2, [end("y")]]
    with pytest.raises(UserError, match="2 inputs and 1 outputs"):
        OpenvinoSession(tmp_path / "net.onnx")


def test_files_without_a_card(openvino: OpenVINO, tmp_path: Path) -> None:
    openvino.card = None
    with pytest.raises(UserError, match="give the value range"):
        OpenvinoSession(tmp_path / "net.onnx")
    assert OpenvinoSession(tmp_path / "net.onnx", value_range=255.0).card.value_range == 255
    with pytest.raises(UserError, match="upscales by 2, not by 3"):
        OpenvinoSession(tmp_path / "net.onnx", value_range=1.0, scale=3)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("Exception from a.cpp:1:\nCheck 'x' failed\n unsupported : Foo.\n\n", "Foo"),
        ("Exception from a.cpp:1:\n", "Exception from a.cpp:1:"),
        ("", "RuntimeError"),
    ],
)
def test_its_errors_become_one_sentence(
    openvino: OpenVINO, tmp_path: Path, said: str, reason: str
) -> None:
    openvino.fails = RuntimeError(said)
    with pytest.raises(UserError) as caught:
        OpenvinoSession(tmp_path / "net.onnx")
    assert f"is not an ONNX file that OpenVINO 2099.1 can load ({reason}); it" in str(caught.value)
    openvino.fails = UserError("one of ours")
    with pytest.raises(UserError, match=r"^one of ours$"):
        OpenvinoSession(tmp_path / "net.onnx")


def test_names_that_are_no_text(openvino: OpenVINO, tmp_path: Path) -> None:
    def damaged() -> str:
        return b"\xff".decode()

    value = end("x")
    value.get_any_name = damaged
    openvino.ends = [[value], [end("y")]]
    with pytest.raises(UserError, match="names or metadata that are not UTF-8"):
        OpenvinoSession(tmp_path / "net.onnx")


def test_files_and_openvino_that_are_not_there(
    openvino: OpenVINO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="There is no file"):
        OpenvinoSession(tmp_path / "absent.onnx")
    absent: Callable[[Module], Availability] = lambda self: Availability(False, "get it")  # noqa: E731
    monkeypatch.setattr(Module, "availability", absent)
    with pytest.raises(UserError, match=r"in OpenVINO is not possible: get it\."):
        OpenvinoSession(tmp_path / "net.onnx")


def test_the_real_one_tells_the_card_and_the_precision(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", 3, "h", 8]) for n in "xy"]
    weight = np.random.default_rng(0).random((3, 3, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)
    graph = helper.make_graph(
        [node], "g", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")]
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    card = CARD.model_copy(update={"pre_upscaled": True})
    model.metadata_props.add(key=CARD_KEY, value=card.to_json())
    onnx.save(model, tmp_path / "net.onnx")
    with OpenvinoSession(tmp_path / "net.onnx", threads=1) as session:
        assert (session.precision, session.card) == ("fp32", card)
        assert str(session.sizes) == "8x1..8x1048576"
        first = session.run(np.ones((1, 3, 4, 8), np.float32))
        kept = first.copy()
        session.run(np.zeros((1, 3, 4, 8), np.float32))
        np.testing.assert_array_equal(first, kept)  # the next run does not overwrite it
    (tmp_path / "broken.onnx").write_bytes(b"x" * 30)
    with pytest.raises(UserError, match="is not an ONNX file that OpenVINO") as caught:
        OpenvinoSession(tmp_path / "broken.onnx")
    assert "\n" not in str(caught.value)
