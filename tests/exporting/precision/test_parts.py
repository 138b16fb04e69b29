"""Precisions in parts: what is read back, refused, told; on graphs and losses that are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.precision import write as stage
from srdeploy.exporting.precision.bf16 import OPSET, last_results, to_bfloat16
from srdeploy.exporting.precision.graph import convolution_kinds
from srdeploy.exporting.precision.quantise_names import TrainedRanges
from srdeploy.exporting.precision.quantise_search import Cost
from srdeploy.exporting.precision.request import PrecisionRequest
from srdeploy.exporting.precision.write import (
    MAX_DROP,
    Written,
    _half,
    _Quantiser,
    _read_back,
    _who_measured,
    write_precision,
)
from srdeploy.models.card import Card
from srdeploy.models.quantised import Range
from tests.exporting.precision.test_graph import model, network, node
from tests.exporting.precision.test_quantise_search import residual

CARD = Card(arch="t", scale=1, scales=(1,), channels=3, value_range=1.0)
INPUTS = [np.random.default_rng(n).random((1, 3, 6, 6), np.float32) for n in range(9)]


@pytest.fixture(autouse=True)
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Images of noise; which were asked for is kept."""
    asked: list[str] = []
    monkeypatch.setattr(
        stage, "network_inputs", lambda images, card, **_: asked.append(images) or INPUTS
    )
    return asked


class Gate:
    """Loses what it is told: by how many layers are in float32."""

    data, runtime = "set", "onnxruntime"

    def __init__(self, drops: dict[int, float]) -> None:
        self.drops, self.asked = drops, []

    def drop(self, made: onnx.ModelProto) -> float:
        kept = list(convolution_kinds(made).values()).count("fp32")
        self.asked.append(kept)
        return self.drops[kept]

    def facts(self, made: onnx.ModelProto, drop: float | None = None) -> dict[str, Any]:
        return {
            "drop": self.drop(made) if drop is None else drop,
            "data": "set",
            "protocol": "y",
            "psnr_fp32": 30.0,
            "psnr": 29.0,
            "runtimes": {"onnxruntime": 29.0},
            "not_run_in": {"openvino": "no reason"},
        }

    def loss(self, precision: str, drop: float, limit: float) -> str:
        return f"{precision} loses {drop:g} of {limit:g}"

    def require(self, *asked: Any) -> None:
        self.required = asked


def written(made: onnx.ModelProto, floats: list[str]) -> Written:
    return Written(made, floats, [], {}, [])


def test_a_label_is_what_the_graph_holds() -> None:
    made = network()
    for precision in ("int8", "mixed"):
        with pytest.raises(SrdeployError) as caught:
            _read_back(written(made, ["head"]), precision)
        assert str(caught.value) == (
            f"{precision} was asked, but the graph has its convolutions otherwise (4 in fp32; "
            "wrong: /a/Conv, /u/ConvTranspose, /e/Conv); nothing was written."
        )
    with pytest.raises(SrdeployError, match=r"otherwise \(4 in fp32\); nothing was written"):
        _read_back(written(made, ["head", "/a/Conv", "shared", "tail"]), "int8")
    empty = model([node("Relu", ["lr"], "sr")], {})
    with pytest.raises(SrdeployError, match=r"otherwise \(none\)"):
        _read_back(written(empty, []), "fp16")
    half, _ = stage.to_half(made, SimpleNamespace(overflowing=frozenset({"e"})))  # type: ignore[arg-type]
    _read_back(written(half, ["tail"]), "fp16")
    with pytest.raises(SrdeployError, match="wrong: /e/Conv"):
        _read_back(written(half, []), "fp16")


def test_who_measured() -> None:
    assert _who_measured("openvino") == "measured in openvino, which computes it in bf16"
    assert _who_measured("onnx-reference").startswith("no runtime here computes bf16")


@pytest.mark.parametrize(("calibration", "asked"), [(None, "data"), ("mine", "mine")])
def test_half_precision_is_told(
    calibration: str | None, asked: str, asked_for: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    peaks = {"s": 40000.0}
    real = stage.audit_ranges

    def audit(made: onnx.ModelProto, inputs: Any) -> Any:
        found = real(made, inputs)
        return type(found)(found.peaks | peaks, frozenset(peaks))

    monkeypatch.setattr(stage, "audit_ranges", audit)
    request = PrecisionRequest("fp16", calibration=calibration, data="data")
    found = _half(network(), CARD, request)
    assert asked_for == [asked]
    assert found.notes[0] == "largest value 4e+04 at /s/Add: 1.64 times below float16's 65504"
    assert found.notes[2] == (
        "in fp32, because they would come within 4 times of overflow, or have no float16 form: "
        "/s/Add, /t/Add"
    )
    assert found.facts == {"kept_fp32": ["/s/Add", "/t/Add"]}
    assert found.float_layers == []  # a sum is no convolution
    peaks["e"] = 17000.0
    assert _half(network(), CARD, request).float_layers == ["tail"]
    peaks.clear()
    assert len(_half(network(), CARD, request).notes) == 2


def quantiser(precision: str, trained: TrainedRanges | None = None, **asked: Any) -> _Quantiser:
    return _Quantiser(residual(), CARD, PrecisionRequest(precision, **asked), trained)


def test_8_bits_within_their_limit(asked_for: list[str]) -> None:
    made = quantiser("int8", max_drop=0.5, method="minmax")
    gate = Gate({4: 0.5, 5: 0.1})
    found = made.write(gate)  # type: ignore[arg-type]
    assert asked_for == ["builtin"]
    assert found.float_layers == ["sub", "head", "tail", "add"]
    assert found.notes[0] == (
        "4 of 8 convolutions in int8; in fp32: sub, head, /long/Add, tail, add"
    )
    assert found.notes[1] == (
        "ranges by minmax from 9 patches of the training images that come with srdeploy"
    )
    assert found.facts == {
        "kept_fp32": ["sub", "head", "/long/Add", "tail", "add"], "activations": "uint8",
        "method": "minmax", "calibration_patches": 9,
    }  # fmt: skip
    rows = {row["layer"]: row for row in found.layers}
    assert list(rows) == ["sub", "head", "a", "b", "/s1/Add", "c", "/s2/Add", "d", "/long/Add",
                          "tail", "add"]  # fmt: skip
    assert rows["sub"] == {"layer": "sub", "precision": "fp32"}
    a = rows["a"]
    assert (a["precision"], a["low"]) == ("int8", 0)  # behind its ReLU
    assert a["high"] == made.ranges["ar"].high > 0
    assert found.quality is not None
    assert found.quality["drop"] == 0.5
    assert quantiser("int8").write(None).quality is None


def test_8_bits_that_lose_too_much_name_what_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = [
        Cost(name, 9.0 - n) for n, name in enumerate(("d", "c", "/s1/Add", "a", "b", "/s2/Add"))
    ]
    asked: list[Any] = []

    def sensitivity(made: Any, names: Any, ranges: Any, inputs: Any, **options: Any) -> list[Cost]:
        asked.append((list(names), len(inputs), options))
        return costs

    monkeypatch.setattr(stage, "sensitivity", sensitivity)
    made = quantiser("int8", max_drop=0.2)
    with pytest.raises(SrdeployError) as caught:
        made.write(Gate({4: 0.5001, 5: 0.3, 6: 0.1, 7: 0.05}))  # type: ignore[arg-type]
    assert str(caught.value) == (
        "int8 loses 0.5001 of 0.2; the layers that cost most are d, c, /s1/Add; with 2 of 6 "
        "rounded layers left in fp32 it would lose 0.100 dB: use --precision mixed, or allow "
        "--max-drop 0.51."
    )
    # Of nine images every third: at most four.
    assert asked == [(made.usual, 3, {"activations": "uint8", "value_range": 1.0})]
    with pytest.raises(
        SrdeployError, match="no selection of layers passes: calibrate on images li"
    ):
        made.write(Gate(dict.fromkeys(range(4, 9), 0.5)))  # type: ignore[arg-type]
    for untold in (float("nan"), float("inf")):  # an image that was met exactly before
        with pytest.raises(SrdeployError, match=r"int8 loses .*: use --precision mixed\.$"):
            made.write(Gate({4: untold, **dict.fromkeys(range(5, 9), 0.0)}))  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [None, 0.2])
def test_mixed_spares_the_dearest(limit: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["sub", "head", "a", "b", "/s1/Add", "c", "/s2/Add", "d", "/long/Add", "tail", "add"]
    costs = [Cost(name, 20.0 - n) for n, name in enumerate(reversed(names))]
    monkeypatch.setattr(stage, "sensitivity", lambda made, asked, *a, **o: costs)
    made = quantiser("mixed", max_drop=limit)
    drops = {0: 1.0, 1: 0.3, 2: 0.2, 3: 0.1, 4: 0.05, 5: 0.02, 6: 0.01, 7: 0.0}
    gate = Gate(drops)
    found = made.write(gate)  # type: ignore[arg-type]
    assert MAX_DROP == 0.05
    spared = ["tail", "add"] if limit else ["c", "d", "tail", "add"]
    assert found.float_layers == spared
    assert found.quality is not None
    assert found.quality["drop"] == (0.2 if limit else 0.05)
    assert {row["layer"]: row["noise"] for row in found.layers} == {c.layer: c.noise for c in costs}
    nothing = Gate(dict.fromkeys(range(9), 1.0))
    with pytest.raises(
        SrdeployError, match=rf"in int8 within {limit or 0.05:g} dB on set; calibrate"
    ):
        made.write(nothing)  # type: ignore[arg-type]
    assert max(nothing.asked) == 7  # one stays in int8


def test_ends_alone_are_nothing_to_round() -> None:
    made = _Quantiser(model([node("Conv", ["lr", "w.weight"], "sr")],
                            {"w.weight": np.ones((3, 3, 3, 3), np.float32)}),
                      CARD, PrecisionRequest("int8"), None)  # fmt: skip
    with pytest.raises(UserError, match="no convolution between its ends, so there is nothing to"):
        made.write(None)


def trained(**changes: Any) -> TrainedRanges:
    ranges = {t: Range(-1.0, 2.0) for t in ("h", "ar", "b", "s1")}
    facts = {
        "layers": ["a", "b"],
        "ranges": ranges,
        "activations": "int8",
        "names": {},
        "factors": {},
    }
    return TrainedRanges(**(facts | changes))


def test_what_fine_tuning_learned_is_written(asked_for: list[str]) -> None:
    found = quantiser("int8", trained()).write(None)
    assert asked_for == []  # nothing is calibrated
    assert [r["layer"] for r in found.layers if r["precision"] == "int8"] == ["a", "b"]
    assert found.facts["method"] == "trained"
    assert found.facts["activations"] == "int8"
    assert "calibration_patches" not in found.facts
    assert found.notes[1].startswith("ranges as fine-tuning for 8 bits learned them")
    assert len(found.notes) == 2
    more = quantiser("mixed", trained())
    assert "ar" not in more.calibrated
    assert "s2" in more.calibrated
    assert more._written(["a"], {}).notes[2].startswith(f"ranges of {len(more.calibrated)} more")
    anew = quantiser("int8", trained(), method="minmax")
    assert anew.trained is None
    assert anew.activations == "uint8"
    with pytest.raises(UserError) as caught:
        quantiser("int8", trained(), activations="uint8")
    assert str(caught.value).startswith(
        "The network was fine-tuned for int8 activations, not uint8: leave --activations out"
    )


@pytest.mark.parametrize(
    ("precision", "max_drop", "measure", "limit"),
    [("fp16", None, True, None), ("fp16", 0.3, False, 0.3), ("fp16", None, False, "none"),
     ("mixed", None, False, 0.05), ("bf16", None, True, None)],
)  # fmt: skip
def test_what_is_measured(
    precision: str, max_drop: float | None, measure: bool, limit: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    gate = Gate(dict.fromkeys(range(9), 0.01))
    made: list[Any] = []
    monkeypatch.setattr(stage, "Gate", lambda *asked: made.append(asked) or gate)
    monkeypatch.setattr(
        stage, "sensitivity", lambda m, names, *a, **o: [Cost(n, 1.0) for n in names]
    )
    request = PrecisionRequest(precision, max_drop=max_drop, data="set")
    found = write_precision(residual(), CARD, request, measure=measure)
    if limit == "none":
        assert made == []
        assert found.quality is None
        return
    assert made[0][1:] == (CARD, "set")
    assert gate.required == (precision, found.quality, limit)
    assert "not run in openvino: no reason" in found.notes
    assert ("measured in onnxruntime, which computes it in bf16" in found.notes) == (
        precision == "bf16"
    )
    assert any(
        note.startswith("loses 0.010 dB on set: y 30.000 in fp32, 29.000") for note in found.notes
    )


# bfloat16


def test_the_last_result_is_seen_through_movements() -> None:
    made = model(
        [node("Conv", ["lr", "w.weight"], "a"), node("Add", ["a", "a"], "b"),
         node("Relu", ["b"], "c"), node("DepthToSpace", ["c"], "d", blocksize=1),
         node("Clip", ["d"], "sr")],
        {"w.weight": np.ones((3, 3, 1, 1), np.float32)},
    )  # fmt: skip
    assert last_results(made) == {"sr", "d", "c"}
    assert last_results(model([node("Transpose", ["lr"], "sr", perm=[0, 1, 2, 3])], {})) == {"sr"}


def test_bfloat16_keeps_the_last_and_the_transposed_ones() -> None:
    found, kept = to_bfloat16(network())
    assert OPSET == 22
    assert [o.version for o in found.opset_import] == [22]
    assert kept == ["/u/ConvTranspose", "/v/Relu", "/m/Mul", "/sr/Relu"]
    kinds = convolution_kinds(found)
    assert kinds == {"/h/Conv": "bf16", "/a/Conv": "bf16", "/u/ConvTranspose": "fp32",
                     "/e/Conv": "bf16"}  # fmt: skip
    assert {v.type.tensor_type.elem_type for v in found.graph.output} == {TensorProto.FLOAT}
