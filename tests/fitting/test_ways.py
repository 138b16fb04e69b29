from __future__ import annotations

import pytest

from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from srdeploy.fitting.ways import ways_on
from srdeploy.measure.measurement import DeviceFacts


def _told(device: str, *features: str, **asked: tuple[str, ...]) -> list[str]:
    facts = DeviceFacts(kind="any", model="m", cpu_features=features)
    given = {"runtimes": (), "precisions": (), "pixel_shuffles": ("crd",), **asked}
    return [str(way) for way in ways_on(DeviceUri.parse(device).kind, facts, **given)]


def test_a_board_and_a_phone_decide_what_runs_networks() -> None:
    assert _told("ssh://me@orin") == ["its runtime fp32", "its runtime fp16", "its runtime int8"]
    assert _told("adb") == ["its runtime fp32", "its runtime int8"]


def test_bf16_is_tried_where_the_processor_computes_in_it() -> None:
    bf16 = "openvino bf16"
    assert bf16 not in _told("local", "avx2")
    told = _told("local", "avx512_bf16")
    assert bf16 in told or not any("openvino" in way for way in told)


def test_what_is_asked_for_is_what_is_tried() -> None:
    assert _told("local", runtimes=("onnxruntime",), precisions=("int8",)) == ["onnxruntime int8"]
    assert _told("local", runtimes=("onnxruntime",)) == ["onnxruntime fp32", "onnxruntime int8"]
    forms = _told("adb", precisions=("fp32",), pixel_shuffles=("crd", "reshape"))
    assert forms == ["its runtime fp32", "its runtime fp32 (reshape)"]
    away = ways_on(
        "local", DeviceFacts(kind="local", model="m"), (), (), ("crd",), here=False
    )  # of a farm's host: what is installed here says nothing of it
    assert [str(way) for way in away] == [
        "onnxruntime fp32", "onnxruntime int8", "openvino int8",
    ]  # fmt: skip
    with pytest.raises(UserError, match="mixed"):
        _told("adb", precisions=("mixed",))
