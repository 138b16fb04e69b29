"""Provider placement. onnxruntime's sessions are stood in for where the hardware is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.registry import create
from srdeploy.runtime.onnx import providers
from srdeploy.runtime.onnx.providers import (
    PROVIDERS,
    ask_for_placement,
    check_placement,
    provider_list,
)
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import ONNXRUNTIME, RUNTIMES, provider_availability

CPU, CUDA = PROVIDERS["cpu"], PROVIDERS["cuda"]
FILE = Path("net.onnx")


@dataclass
class Node:
    op_type: str


@dataclass
class Part:
    ep_name: str
    operators: list[str]

    def get_nodes(self) -> list[Node]:
        return [Node(name) for name in self.operators]


@dataclass
class FakeSession:
    parts: list[Part]
    running: list[str] = field(default_factory=lambda: [CUDA, CPU])

    def get_providers(self) -> list[str]:
        return self.running

    def get_provider_graph_assignment_info(self) -> list[Part]:
        return self.parts


def test_a_provider_that_took_everything_is_nothing_to_tell() -> None:
    whole = FakeSession([Part(CUDA, ["Conv", "Relu"]), Part(CUDA, ["Conv"])])
    assert check_placement(whole, CUDA, FILE) == ()


def test_what_it_leaves_is_told() -> None:
    parts = [Part(CUDA, ["Conv"] * 3), Part(CPU, ["DepthToSpace", "Conv"]), Part(CPU, ["Conv"])]
    (told,) = check_placement(FakeSession(parts), CUDA, FILE)
    assert told == "cuda takes 3 of 6 nodes, not 2 Conv, 1 DepthToSpace"


def test_none_of_the_convolutions_is_refused() -> None:
    parts = [Part(CUDA, ["Relu"]), Part(CPU, ["Conv"] * 4)]
    with pytest.raises(UserError, match=r"cuda provider takes none of the 4 convolutions of 'net"):
        check_placement(FakeSession(parts), CUDA, FILE)


def test_a_provider_that_did_not_start_is_refused() -> None:
    """What onnxruntime does where CUDA's libraries are missing: it runs on the CPU."""
    fallen = FakeSession([Part(CPU, ["Conv"])], running=[CPU])
    with pytest.raises(UserError, match=r"could not start its cuda provider .* on cpu;"):
        check_placement(fallen, CUDA, FILE)


def test_onnxruntime_tells_the_placement(tmp_path: Path) -> None:
    """The real thing, of the provider that is everywhere."""
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "net.onnx", check=False)
    options = ort.SessionOptions()
    ask_for_placement(options)
    session = ort.InferenceSession(tmp_path / "net.onnx", options, providers=[CPU])
    assert check_placement(session, CPU, FILE) == ()
    nodes = [n for part in session.get_provider_graph_assignment_info() for n in part.get_nodes()]
    written = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert sum(node.op_type == "Conv" for node in nodes) == written.count("Conv") > 0


def test_versions_that_cannot_tell_must_not_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_ASSIGNMENT", "not_in_this_version")
    options = ort.SessionOptions()
    ask_for_placement(options)
    assert options.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"
    assert check_placement(FakeSession([]), CUDA, FILE) == ()


def test_absent_providers_say_what_to_install(tmp_path: Path) -> None:
    absent = [n for n in PROVIDERS if PROVIDERS[n] not in ort.get_available_providers()]
    assert absent
    for name in absent:
        with pytest.raises(UserError, match=f"no {name} provider: .*onnxruntime"):
            provider_list(name)
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "net.onnx", check=False)
    for asked in ({"runtime": f"onnxruntime-{absent[0]}"}, {"provider": absent[0]}):
        with pytest.raises(UserError, match=f"no {absent[0]} provider"):
            open_session(tmp_path / "net.onnx", **asked)


@pytest.mark.parametrize("name", [n for n in PROVIDERS if n != "cpu"])
def test_the_table_agrees_with_onnxruntime(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table looks at files, onnxruntime knows; one row each, and a session class of its own."""
    row = RUNTIMES[f"onnxruntime-{name}"]
    assert row.provider == name
    found = provider_availability(name)
    assert found.ready == (PROVIDERS[name] in ort.get_available_providers())
    if not found:
        assert "onnxruntime" in found.reason
    monkeypatch.setattr(type(ONNXRUNTIME), "_importable", lambda self: False)
    assert "onnxruntime is not installed" in provider_availability(name).reason


def test_providers_belong_to_onnx_files(tmp_path: Path) -> None:
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "net.onnx", check=False)
    with open_session(tmp_path / "net.onnx", provider="cpu") as session:
        assert isinstance(session, OnnxSession)
        assert session.runtime == "onnxruntime"
    with pytest.raises(UserError, match="Only onnxruntime has providers"):
        open_session("edsr-s-x2", provider="cuda")
    with pytest.raises(UserError, match="openvino cannot run"):
        open_session(tmp_path / "net.onnx", runtime="openvino", provider="cpu")


@pytest.mark.skipif(
    not RUNTIMES["onnxruntime-openvino"].availability(),
    reason="runs where onnxruntime-openvino is installed in place of onnxruntime",
)
class TestOpenvinoProvider:
    """A provider that is not the CPU's, for real."""

    def test_it_takes_the_network(self, tmp_path: Path) -> None:
        export_onnx(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "net.onnx", check=False)
        with open_session(tmp_path / "net.onnx", provider="openvino") as session:
            assert session.runtime == "onnxruntime-openvino"
            assert session.notes == ()

    def test_a_silent_fallback_is_refused(self, tmp_path: Path) -> None:
        """It leaves this whole graph to the CPU for the sake of one operator."""
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, "H", "W"]) for n in "xy"
        ]
        weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 3, 1, 1], [1.0] * 9)
        nodes = [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Hardmax", ["c"], ["y"]),
        ]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
        opset = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "h.onnx")
        foreign = {"value_range": 1.0, "scale": 2}
        with open_session(tmp_path / "h.onnx", **foreign) as session:  # it is a sound graph
            assert session.run(np.zeros((1, 3, 4, 4), np.float32)).shape == (1, 3, 4, 4)
        with pytest.raises(UserError, match=r"takes none of the 1 convolutions of 'h\.onnx'"):
            open_session(tmp_path / "h.onnx", provider="openvino", **foreign)
