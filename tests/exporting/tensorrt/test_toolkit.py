"""TensorRT in its versions, of stand-ins; and what its parser's answers are told as."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.tensorrt import toolkit as trt_toolkit
from srdeploy.exporting.tensorrt.accept import accepts, require_acceptance, require_onnx
from srdeploy.exporting.tensorrt.toolkit import (
    Toolkit,
    any_toolkit,
    load_toolkit,
    parser_errors,
    refusal,
)
from srdeploy.runtime.table import Availability, Module


class ILogger:
    made = 0

    def __init__(self) -> None:
        ILogger.made += 1


def api(version: str = "10.3.0", **flags: int) -> Any:
    """Flags of networks, by their bits."""
    return SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        NetworkDefinitionCreationFlag=SimpleNamespace(**flags),
        OnnxParser=lambda network, logger: ("parser", network, logger),
    )


class Builder:
    def __init__(self, network: Any) -> None:
        self.network, self.flags = network, -1

    def create_network(self, flags: int) -> Any:
        self.flags = flags
        return self.network


@pytest.mark.parametrize(
    ("name", "version", "flags", "bits", "major"),
    [
        ("tensorrt", "8.6.1", {"EXPLICIT_BATCH": 0}, 0b1, 8),
        ("tensorrt", "9.0.0", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 2}, 0b101, 9),
        ("tensorrt", "10.3.0", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 2}, 0b100, 10),
        ("tensorrt", "11.0.1", {}, 0, 11),
        ("tensorrt_rtx", "1.7.1", {"EXPLICIT_BATCH": 3, "STRONGLY_TYPED": 1}, 0b10, 11),
    ],
)
def test_what_a_network_is_made_with(
    name: str, version: str, flags: dict, bits: int, major: int
) -> None:
    toolkit = Toolkit(name, api(version, **flags))
    builder = Builder(SimpleNamespace())
    network = toolkit.create_network(builder)
    assert builder.flags == bits
    assert network.name == "srdeploy"
    assert (toolkit.major, toolkit.rtx, toolkit.version) == (major, name.endswith("rtx"), version)
    assert toolkit.strongly_typed == ("STRONGLY_TYPED" in flags)
    assert toolkit.parser(network) == ("parser", network, toolkit.logger)
    toolkit.log.errors.append("no\n memory. ")
    with pytest.raises(SrdeployError, match=rf"^{name} {version} gave no network: no memory\.$"):
        toolkit.create_network(Builder(None))


def test_what_tensorrt_says_is_sorted() -> None:
    made = ILogger.made
    toolkit = Toolkit("tensorrt", api())
    assert ILogger.made == made + 1
    log = toolkit.log
    assert log.reason() == "TensorRT gave no reason"
    say = toolkit.logger.log
    say("Severity.INTERNAL_ERROR", "first.")
    say("Severity.ERROR", "second")
    say("Severity.WARNING", "careful")
    say("Severity.VERBOSE", "Layers:\nName: a")
    say("Severity.INFO", "Engine Layer Information:\nName: b")
    for number in range(5000):
        say("Severity.INFO", str(number))
    assert log.errors == ["first.", "second"]
    assert log.warnings == ["careful"]
    assert log.layers == "Engine Layer Information:\nName: b"
    assert (len(log.recent), log.recent[-1]) == (4000, "4999")
    assert log.reason() == "first"
    log.errors[0] = "x" * 400
    assert log.reason() == "x" * 300


class Complaint:
    def __init__(self, what: str, **where: str) -> None:
        self.desc = lambda: what
        for name, told in where.items():
            setattr(self, name, lambda told=told: told)


def complaining(*complaints: Complaint) -> Any:
    return SimpleNamespace(num_errors=len(complaints), get_error=lambda n: complaints[n])


def test_complaints_of_a_parser() -> None:
    parser = complaining(
        Complaint("not\n supported", node_name="/a", node_operator="Erf"),
        Complaint("false", node_name="", node_operator="Hardmax"),
        Complaint("whole"),
        Complaint(""),
    )
    assert parser_errors(parser) == [
        "'/a' (Erf): not supported", "'' (Hardmax): no such operator", "whole", "no such operator",
    ]  # fmt: skip
    assert str(refusal("trt 1", ["a", "b", "c.", "d"])) == (
        "TensorRT's parser (trt 1) refuses the network: a; b; c."
    )
    assert "export it with --activations int8 (the parser: Zero Point)" in str(
        refusal("trt", ["Zero Point"])
    )


def test_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tensorrt")
    module.__dict__.update(vars(api("10.9.0")))
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    here = {"tensorrt"}
    monkeypatch.setattr(Module, "availability",
                        lambda self: Availability(self.name in here, "get it"))  # fmt: skip
    assert load_toolkit("tensorrt").version == "10.9.0"
    found = any_toolkit()
    assert found is not None
    assert found.name == "tensorrt"
    with pytest.raises(UserError, match=r"^This needs tensorrt_rtx: get it\.$"):
        load_toolkit("tensorrt_rtx")
    here.clear()
    assert any_toolkit() is None
    with pytest.raises(UserError, match="parser is not installed here: pip install 'srdeploy"):
        accepts(b"")
    here |= {"tensorrt", "tensorrt_rtx"}
    rtx = ModuleType("tensorrt_rtx")
    rtx.__dict__.update(vars(api("1.7")))
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", rtx)
    found = any_toolkit()
    assert found is not None
    assert found.rtx  # which needs no GPU

    for error in (ImportError, OSError, RuntimeError):

        def fails(name: str, error: type[Exception] = error) -> Any:
            raise error("libnvinfer:\n " + "x" * 300)

        monkeypatch.setattr(trt_toolkit.importlib, "import_module", fails)
        with pytest.raises(UserError) as caught:
            load_toolkit("tensorrt")
        assert str(caught.value) == (
            f"tensorrt is installed but cannot be loaded (libnvinfer: {'x' * 188})."
        )
        monkeypatch.undo()
        monkeypatch.setattr(Module, "availability", lambda self: Availability(True, ""))


# Acceptance


def small() -> bytes:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


class Parser:
    def __init__(self, network: Any, verdict: Any, parses: bool, layers: int, old: bool) -> None:
        self.network, self.parses, self.layers = network, parses, layers
        setattr(self, "supports_model" if old else "supports_model_v2", lambda model: verdict)
        self.num_errors = 0

    def parse(self, model: bytes) -> bool:
        self.network.num_layers = self.layers if self.parses else 0
        return self.parses


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("verdict", "parses", "layers", "accepted"),
    [(True, True, 5, True), ((True, []), True, 5, True), (False, True, 5, False),
     ((False, []), True, 5, False), (True, False, 5, False), (True, True, 0, False)],
)  # fmt: skip
def test_a_network_is_accepted_whole(
    verdict: Any, parses: bool, layers: int, accepted: bool, old: bool
) -> None:
    made = api("8.6.1" if old else "10.3.0")
    made.Builder = lambda logger: SimpleNamespace(
        create_network=lambda flags: SimpleNamespace(num_layers=0)
    )
    made.OnnxParser = lambda network, logger: Parser(network, verdict, parses, layers, old)
    toolkit = Toolkit("tensorrt", made)
    found = accepts(small(), toolkit)
    version = f"tensorrt {made.__version__}"
    assert (found.accepted, found.parser) == (accepted, version)
    assert found.layers == (5 if accepted else 0)
    assert found.reasons == ([] if accepted else ["TensorRT gave no reason"])
    if accepted:
        told = require_acceptance(small(), "trt", toolkit)
        assert told == f"accepted by TensorRT's parser ({version}): 5 layers"
    else:
        with pytest.raises(SrdeployError, match="refuses the network: TensorRT gave no reason"):
            require_acceptance(small(), "trt", toolkit)
    with pytest.raises(UserError, match="no parser to check with named 'trd'"):
        require_acceptance(small(), "trd", toolkit)


@pytest.mark.parametrize("content", [b"", b"hello", small()[:-5]])
def test_what_is_no_model(content: bytes) -> None:
    with pytest.raises(
        UserError, match=r"^The file is no complete ONNX model \(.+\); it may be tr"
    ):
        require_onnx(content, "the file")
    assert isinstance(require_onnx(small(), "the file"), onnx.ModelProto)
