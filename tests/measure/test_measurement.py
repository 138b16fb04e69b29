from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from srdeploy.errors import UserError
from srdeploy.measure.measurement import (
    Conditions,
    DeviceFacts,
    Measurement,
    Power,
    Quality,
    Reading,
)
from srdeploy.measure.scenario import Scenario

FULL = Measurement(
    artifact="net.onnx",
    sha256="ab" * 32,
    device="ssh://me@orin",
    facts=DeviceFacts(kind="ssh", model="Orin", cpu_features=("asimd",), extra={"l4t": "36.3.0"}),
    scenario=Scenario(name="one", inputs=((270, 480),)),
    started="2026-01-01T00:00:00+00:00",
    runtime="tensorrt",
    runtime_version="10.3.0",
    precision="fp16",
    input=(1, 3, 270, 480),
    build_ms=0.0,
    samples_ms=[30.6, 30.4, 31.0],
    compute_ms=[30.3, 30.1, 30.2],
    turns=[2, 1],
    before=Conditions(power_mode="nvpmodel MAXN", temperatures_c={"tj": 44.3}),
    readings=[Reading(seconds=0.1, power_w={"VDD_IN": 7.1})],
    power=Power(
        mean_w=7.1,
        peak_w=7.2,
        energy_j_per_frame=0.2,
        rails=("VDD_IN",),
        source="the whole board",
        readings=1,
    ),
    quality=Quality(psnr=37.0, ssim=0.95, colour="y", protocol="p", n_images=5, data="Set5"),
)


def test_json_carries_everything_there_and_back() -> None:
    text = FULL.to_json()
    assert "\n" not in text
    assert Measurement.from_json(text) == FULL
    assert Measurement.model_validate(json.loads(text)) == FULL
    assert Measurement.from_json(text).to_json() == text


def test_medians() -> None:
    assert (FULL.p50_ms, FULL.compute_p50_ms) == (30.6, 30.2)
    empty = FULL.model_copy(update={"samples_ms": [], "compute_ms": []})
    assert (empty.p50_ms, empty.compute_p50_ms) == (None, None)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "[1]"])
def test_other_text_is_no_measurement(text: str) -> None:
    with pytest.raises(UserError, match="no measurement"):
        Measurement.from_json(text, "'results.jsonl'")


@pytest.mark.parametrize("change", [{"samples_ms": [-1.0]}, {"sampels_ms": []}, {"turns": ["x"]}])
def test_it_is_strict(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Measurement.model_validate(FULL.model_dump() | change)
