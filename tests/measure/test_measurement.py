from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from srdeploy.errors import UserError
from srdeploy.measure.measurement import (
    Conditions,
    DeviceFacts,
    Measurement,
    Power,
    Reading,
)
from srdeploy.measure.scenario import Scenario
from srdeploy.quality.result import Quality

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


IMAGES = [
    {"name": "flat", "psnr_y": math.inf, "ssim_y": 1.0},
    {"name": "bird", "psnr_y": 31.5, "ssim_y": 0.9},
    {"name": "Infinity", "psnr_y": -math.inf, "ssim_y": 0.0},
]


def perfect(**changes: Any) -> Quality:
    values: dict[str, Any] = {
        **{"psnr": math.inf, "ssim": 0.95, "colour": "y", "protocol": "psnr[y]"},
        **{"n_images": 3, "data": "set", "per_image": IMAGES},
    }
    return Quality(**(values | changes))


def test_infinite_figures_are_json_and_come_back() -> None:
    whole = FULL.model_copy(update={"quality": perfect()})
    text = whole.to_json()

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    document = json.loads(text, parse_constant=refuse)
    assert document["quality"]["psnr"] == "Infinity"
    assert Measurement.from_json(text) == whole
    assert Measurement.from_json(text).quality.per_image == IMAGES  # type: ignore[union-attr]


def test_nan_comes_back() -> None:
    images = [{"name": "a", "psnr_y": math.nan, "ssim_y": math.nan}]
    whole = FULL.model_copy(
        update={"quality": perfect(psnr=math.nan, ssim=math.nan, per_image=images)}
    )
    read = Measurement.from_json(whole.to_json()).quality
    assert read is not None
    assert math.isnan(read.psnr)
    assert math.isnan(read.ssim)
    assert math.isnan(read.per_image[0]["psnr_y"])


@pytest.mark.parametrize(("ssim", "psnr"), [(0.95, math.inf), (None, math.nan)])
def test_older_text_has_null_for_them(ssim: float | None, psnr: float) -> None:
    document = json.loads(FULL.model_copy(update={"quality": perfect()}).to_json())
    document["quality"] |= {"psnr": None, "ssim": ssim}
    document["quality"]["per_image"][0] |= {"psnr_y": None}
    read = Measurement.from_json(json.dumps(document)).quality
    assert read is not None
    assert repr(read.psnr) == repr(psnr)
    assert read.per_image[0]["psnr_y"] == math.inf


@pytest.mark.parametrize("turns", [[2, 10**9], [1], [-1, 4], [3, 1]])
def test_turns_that_do_not_count_the_samples_are_refused(turns: list[int]) -> None:
    document = json.loads(FULL.to_json()) | {"samples_ms": [5.0, 5.1, 5.2], "turns": turns}
    with pytest.raises(UserError, match=r"holds no measurement .*but there are 3"):
        Measurement.from_json(json.dumps(document))
