from __future__ import annotations

from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.precision.request import PrecisionRequest, request_of


def test_what_is_asked_unless_told() -> None:
    assert request_of("fp32") == PrecisionRequest()
    request = request_of("int8", calibration=None, max_drop=None)
    assert request == PrecisionRequest("int8")
    assert (request.calibration, request.method, request.activations) == (None, None, None)
    assert (request.max_drop, request.data, request.precision) == (None, "builtin", "int8")
    assert not request.calibrates


@pytest.mark.parametrize(
    ("given", "calibrates"),
    [({"calibration": "a"}, True), ({"method": "mse"}, True), ({"activations": "int8"}, False),
     ({"max_drop": 1.0}, False)],
)  # fmt: skip
def test_calibrating_anew_is_asked_for(given: dict[str, Any], calibrates: bool) -> None:
    for precision in ("int8", "mixed"):
        assert request_of(precision, **given).calibrates == calibrates


@pytest.mark.parametrize(
    ("precision", "given", "sentence"),
    [
        ("fp32", {"max_drop": 1.0}, "--max-drop goes with another precision than fp32; give --pre"),
        ("fp32", {"data": "a", "calibration": "b"}, "--calibration, --eval-data goes with another"),
        (
            "fp16",
            {"method": "mse"},
            "--calibration-method goes with int8 and mixed; leave it out f",
        ),
        (
            "bf16",
            {"activations": "int8", "method": "mse"},
            "--activations, --calibration-method go",
        ),
        ("bf16", {"calibration": "a"}, "nothing to calibrate; leave --calibration out."),
        ("dynamic", {}, "no precision of ONNX files named 'dynamic'"),
        ("dynamic", {"calibration": "a"}, "finds ranges while it runs: there is nothing to cal"),
        ("dynamic", {"method": "mse"}, "--calibration-method goes with int8 and mixed"),
        ("int4", {}, "no precision of ONNX files named 'int4'; did you mean 'int8'?"),
        (
            "int8",
            {"method": "minmix"},
            "no calibration method named 'minmix'; did you mean 'minmax'",
        ),
        ("int8", {"activations": "int16"}, "no type of activations named 'int16'"),
        ("int8", {"max_drop": 0.0}, "--max-drop is a loss in dB above 0, not 0."),
        ("mixed", {"max_drop": -0.25}, "above 0, not -0.25."),
        ("mixed", {"max_drop": float("nan")}, "above 0, not nan."),
    ],
)
def test_what_does_not_go_together(precision: str, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        request_of(precision, **given)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("precision", "given"),
    [("fp16", {"calibration": "a", "max_drop": 0.01, "data": "b"}), ("bf16", {"max_drop": 0.1}),
     ("int8", {"method": "entropy", "activations": "uint8"}), ("mixed", {"max_drop": 1e-6})],
)  # fmt: skip
def test_what_does(precision: str, given: dict[str, Any]) -> None:
    request = request_of(precision, **given)
    assert {name: getattr(request, name) for name in given} == given
