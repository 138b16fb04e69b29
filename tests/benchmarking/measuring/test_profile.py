"""Facts of convolutions, and times from a profiler's events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from srdeploy.benchmarking.measuring.profile import LayerTime, Profile, profile, summarise
from srdeploy.errors import UserError


def model(*nodes: Any, **weights: tuple[int, ...]) -> onnx.ModelProto:
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, "h", "w"]) for name in "xy"
    ]
    tensors = [numpy_helper.from_array(np.ones(s, np.float32), n) for n, s in weights.items()]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def node(kind: str, inputs: str, output: str, name: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=name, **attributes)


def event(name: str, ms: float, operator: str, **args: Any) -> dict[str, Any]:
    told = {"op_name": operator, **args}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 1000 * ms, "args": told}


END = {"cat": "Session", "name": "model_run", "dur": 1}
PAD = {"pads": [1, 1, 1, 1]}


def read(made: onnx.ModelProto, *events: Any, size: tuple[int, int] = (6, 8)) -> Profile:
    return summarise([*events, END], made, (1, 4, *size), warmup=0)


def test_widths_and_macs_of_every_kind_of_convolution() -> None:
    made = model(
        node("Conv", "x a", "1", "/a/Conv", **PAD),
        node("Conv", "1 b", "2", "/b/Conv", group=4, **PAD),
        node("Conv", "2 c", "3", "/c/Conv", strides=[2, 2], **PAD),
        node("ConvTranspose", "3 d", "y", "/d/ConvTranspose", strides=[2, 2], group=2),
        a=(8, 4, 3, 3), b=(8, 2, 3, 3), c=(6, 8, 3, 3), d=(6, 2, 2, 2),
    )  # fmt: skip
    kinds = {"a": "Conv", "b": "Conv", "c": "Conv", "d": "ConvTranspose"}
    found = read(made, *(event(f"/{name}/{kind}", 1.0, kind) for name, kind in kinds.items()))
    assert [(one.layer, one.inputs, one.outputs, one.macs) for one in found.layers] == [
        ("a", 4, 8, 8 * 4 * 9 * 48),
        ("b", 8, 8, 8 * 2 * 9 * 48),
        ("c", 8, 6, 6 * 8 * 9 * 12),
        ("d", 6, 4, 6 * 2 * 4 * 12),
    ]
    assert found.macs == sum(one.macs for one in found.layers)
    assert found.ms == 4


def test_bytes_padding_and_the_rest() -> None:
    made = model(node("Conv", "x a", "y", "/a/Conv", **PAD), a=(6, 4, 3, 3))
    sizes = {"activation_size": "100", "output_size": "20", "parameter_size": "3"}
    blocked = {"output_type_shape": [{"float": [1, 8, 6, 8]}]}
    found = read(
        made,
        event("/a/Conv_nchwc", 2.0, "Conv", **sizes, **blocked),
        event("Reorder", 0.25, "ReorderInput"),
        event("Reorder_token_1", 0.5, "ReorderInput"),
    )
    (one,) = found.layers
    assert (one.bytes, one.outputs, one.computed, one.ms) == (123, 6, 8, 2)
    assert found.others == {"ReorderInput": 0.75}
    assert found.ms == 2.75
    plain = read(
        made, event("/a/Conv", 2.0, "Conv", **blocked)
    )  # not blocked: nothing is filled up
    assert (plain.layers[0].computed, plain.layers[0].bytes) == (6, 0)


@pytest.mark.parametrize(
    "name",
    ["/a/Conv", "/a/Conv_nchwc", "/a/Conv_nhwc", "/a/Conv_token_12", "/a/Conv_nchwc_token_3",
     "/a/Conv/duplicated", "r", "/r/Relu", "/s/Add", "y"],
)  # fmt: skip
def test_names_that_onnxruntime_gives_a_convolution(name: str) -> None:
    made = model(
        node("Conv", "x b", "0", "/b/Conv", **PAD),
        node("Conv", "0 a", "1", "/a/Conv", **PAD),
        node("Relu", "1", "r", "/r/Relu"),
        node("Add", "0 r", "y", "/s/Add"),  # fused into the later of the two
        a=(4, 4, 3, 3), b=(4, 4, 3, 3),
    )  # fmt: skip
    blocked = {"output_type_shape": [{"float": [1, 8, 6, 8]}]}
    (one,) = read(made, event(name, 1.0, "FusedConv", **blocked)).layers
    assert (one.layer, one.operator) == ("a", "FusedConv")


def test_names_of_nobody_are_among_the_others() -> None:
    made = model(node("Conv", "x a", "1", "/a/Conv", **PAD), node("Relu", "z", "y", "/q/Relu"),
                 a=(4, 4, 3, 3))  # fmt: skip
    found = read(made, event("unknown", 1.0, "Conv"), event("/q/Relu", 2.0, "Relu"),
                 event("/a/Conv", 4.0, "Relu"))  # fmt: skip
    assert (found.layers, found.others) == ([], {"Conv": 1.0, "Relu": 6.0})


def test_only_kernels_of_runs_that_count() -> None:
    made = model(node("Conv", "x a", "y", "/a/Conv", **PAD), a=(4, 4, 3, 3))
    runs = [[event("/a/Conv", ms, "Conv"), END] for ms in (90.0, 80.0, 3.0, 1.0, 2.0)]
    noise = [
        {"cat": "Node", "name": "/a/Conv_fence_before", "dur": 9e9, "args": {"op_name": "Conv"}},
        {"cat": "Session", "name": "model_loading", "dur": 9e9},
        {"cat": "Api", "name": "model_run", "dur": 1},
    ]
    events = [*noise, *(one for run in runs for one in run)]
    (found,) = summarise(events, made, (1, 4, 6, 8), warmup=2).layers
    assert found.ms == 2


def test_files_take_turns_with_their_own_inputs(tmp_path: Path) -> None:
    made = model(node("Conv", "x a", "y", "/a/Conv", **PAD), a=(4, 4, 3, 3))
    path = tmp_path / "a.onnx"
    onnx.save(made, str(path))
    small, large = (np.ones((1, 4, n, n), np.float32) for n in (4, 8))
    one, two = profile([(path, small), (path, large)], threads=1, warmup=1, runs=2)
    assert (one.macs, two.macs) == (4 * 4 * 9 * 16, 4 * 4 * 9 * 64)
    assert isinstance(one.layers[0], LayerTime)
    (tmp_path / "b.onnx").write_bytes(b"none")
    with pytest.raises(UserError, match=r"b\.onnx' cannot be profiled in onnxruntime \("):
        profile([(tmp_path / "b.onnx", small)], threads=1)


def test_half_floats_are_fed_as_such_and_threads_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    seen: list[Any] = []
    make = onnxruntime.InferenceSession

    def session(path: str, options: Any, **more: Any) -> Any:
        seen.append((options.intra_op_num_threads, options.enable_profiling, more["providers"]))
        return make(path, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [1, 4, "h", "w"]) for n in "xy"]
    graph = helper.make_graph([node("Relu", "x", "y", "/r/Relu")], "g", ends[:1], ends[1:])
    half = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(half, str(tmp_path / "h.onnx"))
    x = np.ones((1, 4, 4, 4), np.float32)
    (found,) = profile([(tmp_path / "h.onnx", x)], threads=2, warmup=0, runs=1)
    assert found.layers == []
    assert seen == [(2, True, ["CPUExecutionProvider"])]
