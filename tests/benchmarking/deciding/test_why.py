"""Time per layer and its reasons: judged on made-up profiles, read from real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from srdeploy.benchmarking.deciding.why import aligned, explain, judge, padded_macs
from srdeploy.benchmarking.deciding.why_run import why
from srdeploy.benchmarking.measuring.profile import LayerTime, Profile, profile, summarise
from srdeploy.cli.why import tell_why
from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.probes import photograph
from srdeploy.models.registry import create
from tests.runtime.test_strange_files import for_ever


def layer(name: str = "body.0", width: int = 64, ms: float = 1.0, **more: object) -> LayerTime:
    facts = {
        "layer": name, "inputs": width, "outputs": width, "macs": width * width * 9000, "ms": ms,
        "bytes": width * 8000, "computed": width, "operator": "Conv",
    }  # fmt: skip
    return LayerTime(**(facts | more))  # type: ignore[arg-type]


def test_padding_is_arithmetic_too() -> None:
    assert padded_macs(layer(width=45), 16) == layer(width=48).macs
    assert padded_macs(layer(inputs=3), 16) == layer(inputs=3).macs
    assert not aligned(layer(width=45), 16)
    assert aligned(layer(inputs=3), 16)


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (layer(width=32, ms=0.26), "pays"),
        (layer(width=45, ms=0.72), "blocks"),
        (layer(width=32, ms=0.6, bytes=600_000), "memory"),
        (layer(width=32, ms=0.6, bytes=6_000), "overhead"),
        (layer(ms=1.1), "unchanged"),
        (layer(ms=0.5, operator="QLinearConv"), "pays"),
    ],
)
def test_every_kind_of_bottleneck(after: LayerTime, kind: str) -> None:
    peak = (layer().macs / 1.0, 1_500_000.0)
    assert judge(layer(), after, 16, peak) == kind


def test_the_measured_case_is_explained() -> None:
    """64 to 45 channels: 2.02 times fewer MACs, 1.4 times faster, and 48 would be the same."""
    dense = Profile([layer("a"), layer("b")], {"Add": 0.1})
    pruned = Profile([layer("a", 45, 0.71), layer("b", 45, 0.71)], {"Add": 0.08})
    found = explain(dense, pruned, 16)
    assert found.macs_ratio == pytest.approx(2.02, abs=0.01)
    assert found.round_to == 16
    assert "blocks of 16 channels" in found.verdicts[0]
    assert found.advice[0] == "45 channels cost what 48 cost; 32 would take 2.25 times less"
    assert "--round-to 16" in found.advice[1]
    row = found.to_dict()["pairs"][0]
    assert (row["kind"], row["aligned"]) == ("blocks", False)
    json.dumps(found.to_dict())


def test_int8_that_stayed_float_is_named() -> None:
    fast = [layer("a", ms=0.5, operator="QLinearConv"), layer("b", ms=1.0)]
    found = explain(Profile([layer("a"), layer("b")]), Profile(fast, {"Transpose": 0.5}), 16)
    assert [pair.kind for pair in found.pairs] == ["pays", "float"]
    assert any("still computed in floats (b)" in sentence for sentence in found.verdicts)
    assert any("between the convolutions (Transpose)" in sentence for sentence in found.verdicts)
    assert found.round_to is None


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("why") / "net.onnx"
    export_onnx(create("ledsr", n_blocks=1, n_feats=16), path, check=False)
    return path


def test_onnxruntimes_own_profile_is_read(exported: Path) -> None:
    x = photograph(create("ledsr", n_blocks=1, n_feats=16).card, (16, 24))
    first, second = profile([(exported, x), (exported, x)], threads=1, warmup=1, runs=3)
    names = [one.layer for one in first.layers]
    assert names == [one.layer for one in second.layers]
    assert {"head.0", "body.0.body.0", "body.0.body.2", "body.1", "tail.0"} <= set(names)
    (body,) = (one for one in first.layers if one.layer == "body.1")
    assert (body.inputs, body.outputs, body.macs) == (16, 16, 16 * 16 * 9 * 16 * 24)
    assert body.ms > 0
    assert body.bytes >= 2 * 4 * 16 * 16 * 24
    assert "DepthToSpace" in first.others


def test_warm_up_is_left_out(exported: Path) -> None:
    args = {"op_name": "Conv", "activation_size": "8", "output_size": "4", "parameter_size": "1",
            "output_type_shape": [{"float": [1, 16, 4, 4]}]}  # fmt: skip
    name = "/tail/tail.0/Conv_output_0_nchwc_kernel_time"
    events = []
    for duration in (9000, 1000, 3000, 2000):
        events.append({"cat": "Node", "name": name, "dur": duration, "args": args})
        events.append({"cat": "Session", "name": "model_run", "dur": duration})
    (found,) = summarise(events, onnx.load(exported), (1, 3, 4, 4), warmup=1).layers
    assert (found.layer, found.ms, found.bytes) == ("tail.0", 2.0, 13)
    assert (found.outputs, found.computed) == (12, 16)


def test_from_files_to_words(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell_why([str(exported)] * 2, "builtin", 2, "24x16", 2, 1, None, None, False)
    text = capsys.readouterr().out
    assert "body.0.body.2" in text
    assert "the MACs are 1.00 times fewer" in text


def test_refusals(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two artifacts, not 1"):
        tell_why([str(exported)], "builtin", 2, None, None, 1, None, None, False)
    (tmp_path / "x.tflite").touch()
    with pytest.raises(UserError, match="shows no time per layer"):
        why(str(exported), str(tmp_path / "x.tflite"), data="builtin", scale=2, size=(16, 16))


def test_a_loop_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_PATIENCE", "0.3")
    file, x = for_ever(tmp_path / "a.onnx"), np.zeros((1, 3, 8, 8), np.float32)
    with pytest.raises(UserError, match=r"did not finish its first run within 0\.3 s"):
        profile([(file, x)], threads=1, warmup=1, runs=1)
