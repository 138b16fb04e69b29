"""The precision of what ran, from a profiler's events, and from whom it is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from srdeploy.measure import precision
from srdeploy.measure.precision import _precisions, precision_of
from srdeploy.runtime.onnx import providers


def event(kind: str | None, operator: str = "Conv", name: str = "a_kernel_time") -> dict[str, Any]:
    shapes = [] if kind is None else [{kind: [1, 3, 8, 8]}, {"int8": [4]}]
    return {"name": name, "args": {"op_name": operator, "input_type_shape": shapes}}


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([event("float")], "fp32"),
        ([event("float16", "FusedConv")], "fp16"),
        ([event("bfloat16", "NhwcFusedConv")], "bf16"),
        ([event("uint8", "QLinearConv")], "int8"),
        ([event("int8", "ConvInteger")], "int8"),
        ([event("float"), event("uint8"), event("uint8")], "int8+fp32"),  # the commonest first
        ([event("float"), event("float"), event("int8"), event("uint8")], "fp32+int8"),
        ([event("float", "Relu")], None),
        ([event("float", name="a_fence_before")], None),
        ([event("double")], None),
        ([event(None)], None),
        ([{"cat": "Session"}, {"name": "x_kernel_time"}, event("float")], "fp32"),
        ([], None),
    ],
)
def test_convolutions_tell(events: list[dict[str, Any]], told: str | None) -> None:
    assert _precisions(events) == told


def test_onnxruntime_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    said = ["fp16\n", "", "  \n", "fp32+int8\n"]

    def run(command: list[str], **options: Any) -> Any:
        asked.append(command[1:])
        assert command[0] == sys.executable
        assert options == {"capture_output": True, "text": True, "check": False}
        return subprocess.CompletedProcess(command, 0, said[len(asked) - 1], "noise")

    monkeypatch.setattr(subprocess, "run", run)
    found = [
        precision_of("a.onnx", "onnxruntime"),
        precision_of(Path("a.onnx"), "onnxruntime_web", "cuda"),
        precision_of("a.onnx", "onnxruntime"),
        precision_of("a.onnx", "onnxruntime"),
    ]
    assert found == ["fp16", None, None, "fp32+int8"]
    whole = ["-m", "srdeploy.measure.precision", "a.onnx"]
    assert asked == [whole, [*whole, "cuda"], whole, whole]
    assert precision_of("a", "torch") == "fp32"
    assert precision_of("a", "openvino") is None
    assert len(asked) == 4


def test_an_engines_sidecar_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    from srdeploy.runtime.tensorrt import sidecar as trt_sidecar

    class Sidecar:
        precision = "fp16"

    monkeypatch.setattr(trt_sidecar, "read_sidecar", lambda artifact: Sidecar())
    assert precision_of("a.engine", "tensorrt") == "fp16"
    assert precision_of("a.engine", "tensorrt_rtx") == "fp16"


def test_the_process_prints_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(providers, "provider_list", lambda name: [f"list of {name}"])
    monkeypatch.setattr(
        precision, "ran_in", lambda path, chosen: asked.append((path, chosen)) or None
    )
    monkeypatch.setattr(sys, "argv", ["x", "a.onnx"])
    precision.main()
    assert capsys.readouterr().out == "\n"
    monkeypatch.setattr(
        precision, "ran_in", lambda path, chosen: asked.append((path, chosen)) or "f"
    )
    monkeypatch.setattr(sys, "argv", ["x", "b.onnx", "cuda"])
    precision.main()
    assert capsys.readouterr().out == "f\n"
    assert asked == [("a.onnx", ["list of None"]), ("b.onnx", ["list of cuda"])]
