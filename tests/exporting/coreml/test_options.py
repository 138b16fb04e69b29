from __future__ import annotations

from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.coreml.options import (
    CoremlRequest,
    check_options,
    compute_units,
    default_size,
)
from srdeploy.models.card import Card
from srdeploy.runtime.sizes import InputSizes

CARD = Card(arch="edsr", scale=2, scales=(2,), channels=3, value_range=255.0, size_multiple=4)


def check(**changes: Any) -> CoremlRequest:
    asked: dict[str, Any] = {
        "precision": "fp32",
        "images": False,
        "sizes": None,
        "palettize": None,
        "quantize": None,
        "minimum_deployment": None,
    }
    return check_options(CARD, **asked | changes)


def test_defaults() -> None:
    options = check()
    assert (options.label, str(options.sizes)) == ("fp32", "16..2048")
    assert options.minimum_deployment == "iOS16"
    assert "palettize" not in options.recorded()
    assert default_size(options.sizes, 4) == (256, 256)


@pytest.mark.parametrize(
    ("changes", "system"),
    [
        ({}, "iOS16"),
        ({"quantize": "w8"}, "iOS16"),
        ({"quantize": "a8"}, "iOS17"),
        ({"palettize": 4, "quantize": "a8"}, "iOS17"),
        ({"palettize": 4, "minimum_deployment": "iOS18"}, "iOS18"),
        ({"precision": "fp16", "minimum_deployment": "iOS15"}, "iOS15"),
    ],
)
def test_the_oldest_system_that_can(changes: dict[str, Any], system: str) -> None:
    assert check(**changes).minimum_deployment == system


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"precision": "fp61"}, "did you mean 'fp16'"),
        ({"quantize": "w4a8"}, "no quantisation of CoreML programs named 'w4a8'"),
        ({"palettize": 5}, "palette of 5 bits does not exist; choose 8, 6, 4, 2 or 1"),
        ({"palettize": 4, "quantize": "w8"}, "not both; leave out --palettize"),
        ({"minimum_deployment": "iOS 16"}, "did you mean 'iOS16'"),
        ({"palettize": 4, "minimum_deployment": "iOS15"}, "Compressed weights need iOS16"),
        ({"quantize": "a8", "minimum_deployment": "iOS16"}, "activations need iOS17 or later"),
        ({"sizes": "18x16"}, "cannot take 18x16 pixels; give multiples of 4"),
        ({"sizes": "6..16"}, "cannot take 6x6 pixels"),
        ({"sizes": "big"}, "'big' names no sizes"),
        ({"sizes": ",".join(f"{4 * n}x4" for n in range(1, 130))}, "128 sizes at most, not 129"),
    ],
)
def test_requests_that_cannot_be_served(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check(**changes)


@pytest.mark.parametrize(
    ("changes", "units", "because"),
    [
        ({}, "cpuAndGPU", "never runs on the Neural Engine; --precision fp16 does"),
        ({"precision": "fp16"}, "cpuAndGPU", "serves 256x256 alone"),
        ({"precision": "fp16", "sizes": "64..128x96"}, "cpuAndGPU", "serves 128x96 alone"),
        ({"precision": "fp16", "sizes": "64x32"}, "all", "its size planned in advance"),
        ({"precision": "fp16", "sizes": "64x32,32x64"}, "all", "each listed size planned"),
        ({"precision": "fp16", "sizes": "64x32", "quantize": "w8a8"}, "all", "from A17 Pro"),
    ],
)
def test_advice_on_compute_units(changes: dict[str, Any], units: str, because: str) -> None:
    advised, why = compute_units(check(**changes))
    assert advised == units
    assert because in why


def test_default_size_stays_inside_the_range() -> None:
    assert default_size(InputSizes.parse("512..1024"), 1) == (512, 512)
    assert default_size(InputSizes.parse("16..100x50"), 4) == (48, 100)
    assert default_size(InputSizes.parse("48x27,64x36"), 1) == (27, 48)


def test_labels_name_every_choice() -> None:
    options = check(precision="fp16", palettize=6, quantize="a8", images=True, sizes="64x32")
    assert options.label == "fp16, 6-bit palette, a8"
    recorded = options.recorded()
    assert (recorded["ends"], recorded["palettize"], recorded["quantize"]) == ("images", 6, "a8")
    assert recorded["sizes"] == "64x32"
