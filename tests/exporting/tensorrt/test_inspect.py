from __future__ import annotations

import json

import pytest

from srdeploy.errors import SrdeployError
from srdeploy.exporting.tensorrt.inspect import (
    BuiltLayer,
    contradiction,
    count_layers,
    layers_of_json,
    layers_of_log,
)

LOG = """Layers:
Name: shapes, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , Meta:
Name: conv, LayerType: correlation, Inputs: [ { Name: lr, Dimensions: [1,3,-1,-1], Datatype: Half, \
Format: (Linear) Row major linear format }], Constants: [ { Name: w, Datatype: Half, Format: x }], \
Outputs: [ { Name: sr, Dimensions: [1,3,-1,-1], Datatype: Float, Format: x }], TacticName: t
"""


def layer(*kinds: str) -> BuiltLayer:
    return BuiltLayer("conv", frozenset(kinds))


def test_builders_log() -> None:
    layers = layers_of_log(LOG)
    assert [built.name for built in layers] == ["shapes", "conv"]
    assert count_layers(layers) == {"fp16+fp32": 1}
    assert layers_of_log("") == []


@pytest.mark.parametrize(
    ("field", "text", "precision"),
    [
        ("Format/Datatype", "Row major linear FP32", "fp32"),
        ("Format/Datatype", "Channel major FP16 format where channel % 8 == 0", "fp16"),
        ("Format/Datatype", "Thirty-two wide channel vectorized row major Int8 format", "int8"),
        ("DataType", "Half", "fp16"),
        ("Datatype", "BFloat16", "bf16"),
        ("Datatype", "Float", "fp32"),
    ],
)
def test_inspectors_json_in_its_dialects(field: str, text: str, precision: str) -> None:
    entry = {"Name": "conv", "Inputs": [{"Name": "lr", field: text}], "Outputs": []}
    report = json.dumps({"Layers": [entry, "a bare name"], "Bindings": ["lr", "sr"]})
    assert [built.precisions for built in layers_of_json(report)] == [{precision}, set()]


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not json"])
def test_no_report(text: str) -> None:
    with pytest.raises(SrdeployError, match="answered without layers"):
        layers_of_json(text)


def test_contradictions() -> None:
    assert contradiction([layer("fp32")], {"fp32": 3}) is None
    assert contradiction([layer("fp16"), layer("fp32")], {"fp16": 3}) is None
    assert contradiction([layer("int8", "fp32")], {"int8": 2, "fp32": 1}) is None
    assert "no layer of the engine is in fp16" in (
        contradiction([layer("fp32")], {"fp16": 3}) or ""
    )
    assert "in fp16, which" in (contradiction([layer("fp16", "fp32")], {"fp32": 3}) or "")
    assert "no layer of the engine is in fp32" in (contradiction([layer()], {"fp32": 3}) or "")
