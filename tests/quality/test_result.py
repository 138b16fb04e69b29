"""Figures under the names of their metrics: as attributes, in words, and in JSON old and new."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from srdeploy.quality.metrics import METRICS, Metric
from srdeploy.quality.result import Quality, is_key, key_of, with_infinity
from srdeploy.util.figures_json import dumps

OLD = (
    '{"psnr":"Infinity","ssim":0.95,"colour":"y","protocol":"psnr[y]","n_images":2,"data":"set",'
    '"bicubic":29.5,"per_image":[{"name":"Infinity","psnr_y":"Infinity","ssim_y":1.0},'
    '{"name":"bird","psnr_y":31.5,"ssim_y":0.9}]}'
)
"""As every version has written it."""


def made(**changes: Any) -> Quality:
    values: dict[str, Any] = {
        **{"figures": {"psnr": 31.5, "ssim": 0.9}, "colour": "y"},
        **{"protocol": "psnr[y]", "n_images": 1},
    }
    return Quality(**(values | changes))


def test_text_of_earlier_versions_is_read_and_written_as_it_was() -> None:
    read = Quality.model_validate(json.loads(OLD))
    assert read.figures == {"psnr": math.inf, "ssim": 0.95}
    assert (read.psnr, read.ssim, read.bicubic, read.data) == (math.inf, 0.95, 29.5, "set")
    assert read.per_image[0] == {"name": "Infinity", "psnr_y": math.inf, "ssim_y": 1.0}
    assert dumps(read.model_dump(), separators=(",", ":")) == OLD


def test_a_metric_that_is_unknown_here_comes_through() -> None:
    text = OLD.replace('"ssim":0.95', '"ssim":0.95,"lpips":"NaN","mae":2')
    read = Quality.model_validate(json.loads(text))
    assert list(read.figures) == ["psnr", "ssim", "lpips", "mae"]
    assert math.isnan(read.figures["lpips"])
    assert read.mae == 2.0
    assert json.loads(dumps(read.model_dump())) == json.loads(text)
    assert "mae" not in repr(read) + read.told()
    assert read.as_dict()["mae_y"] == 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"psnr": "high"},
        {"psnr": [1.0]},
        {"n_image": 5},  # no metric has such a name
        {"per_imgae": []},
        {"Psnr": 3.0},
        {"colour": "luma"},
        {"per_image": "none"},
        {"figures": {"psnr": 30.0}},  # and the flat ones beside it
    ],
)
def test_it_is_strict(change: dict[str, Any]) -> None:
    values = json.loads(OLD)
    Quality.model_validate(values)
    with pytest.raises(ValidationError):
        Quality.model_validate(values | change)


@pytest.mark.parametrize(
    ("figures", "words"),
    [({"ssim": 0.9}, "no psnr"), ({"psnr": 30.0}, "no ssim"), ({"mae": 2}, "no psnr and no ssim")],
)
def test_what_is_always_there(figures: dict[str, float], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        made(figures=figures)


def test_figures_as_attributes() -> None:
    luma, colours = made(), made(colour="rgb", protocol="psnr[rgb]")
    assert (luma.psnr, luma.ssim, luma.psnr_y, luma.ssim_y) == (31.5, 0.9, 31.5, 0.9)
    assert (colours.psnr, colours.psnr_rgb, colours.ssim_rgb) == (31.5, 31.5, 0.9)
    with pytest.raises(ValueError, match=r"psnr\[rgb\] does not compare luma"):
        _ = colours.ssim_y
    with pytest.raises(ValueError, match=r"psnr\[y\] does not compare colours"):
        _ = luma.ssim_rgb
    for name in ("mae", "mae_y", "psnr_", "psnr_b", "_y", "figure"):
        with pytest.raises(AttributeError):
            getattr(luma, name)


def test_it_is_plain_data() -> None:
    one = made(per_image=[{"name": "a", "psnr_y": 31.5}])
    for twin in (copy.deepcopy(one), pickle.loads(pickle.dumps(one)), one.model_copy()):
        assert twin == one
        assert twin.ssim == 0.9


def test_in_words() -> None:
    one = made(figures={"psnr": 31.2344, "ssim": 0.98765})
    assert one.told() == "31.234 dB, SSIM 0.9877"
    assert one.told(titles=False) == "31.234 dB, 0.9877"
    assert repr(one) == "Quality(psnr=31.234, ssim=0.9877, n_images=1, protocol='psnr[y]')"
    assert str(one) == repr(one)
    assert one.cells({"name": "a", "psnr_y": 9.5, "ssim_y": 0.5}) == ["  9.500 dB", "0.5000"]
    assert one.cells({"name": "a", "psnr_y": math.inf}) == ["    inf dB"]
    assert one.cells({"name": "a", "psnr_rgb": 9.5}) == []


@pytest.mark.parametrize(
    ("key", "is_one"),
    [("psnr_y", True), ("mae_rgb", True), ("psnr_bicubic", False), ("n_images_y", False),
     ("_y", False), ("psnr", False), ("Psnr_y", False), ("psnr_y ", False)],
)  # fmt: skip
def test_keys(key: str, is_one: bool) -> None:
    assert is_key(key) == is_one
    assert is_key(key_of("x9", "rgb"))


def test_null_is_infinite_where_ssim_was_measured() -> None:
    figures = {"psnr": None, "ssim": 0.9, "psnr_y": None, "ssim_y": None, "psnr_bicubic": None}
    assert with_infinity(figures) == figures | {"psnr": math.inf}
    assert with_infinity({"psnr": None, "ssim": "NaN"})["psnr"] is None
    assert with_infinity({"ssim": 0.9}) == {"ssim": 0.9}


@pytest.mark.parametrize("name", ["PSNR", "p-snr", "my_metric", "", "9a", "data", "colour", "name"])
def test_names_that_a_metric_cannot_have(name: str) -> None:
    with pytest.raises(ValueError, match="names no metric"):
        Metric(name, "T", "", 2, lambda a, b: 0.0, 0.0, 1.0)


def test_a_row_says_how_its_figures_are_read() -> None:
    psnr, ssim = METRICS["psnr"], METRICS["ssim"]
    error = Metric("e", "E", "levels", 1, lambda a, b: 0.0, 0.0, 255.0, higher_is_better=False)
    assert next(iter(METRICS)) == "psnr"
    assert (psnr.best, ssim.best, error.best) == (math.inf, 1.0, 0.0)
    assert (psnr.lost(30, 29), error.lost(2, 3), error.lost(3, 2)) == (1, 1, -1)
    assert psnr.lost(math.inf, math.inf) == 0
    assert (psnr.worst(30, 29, 31), error.worst(2, 3, 1)) == (29, 3)
    assert (psnr.heading(), psnr.heading("\n"), ssim.heading()) == ("PSNR dB", "PSNR\ndB", "SSIM")
    assert (psnr.number(31.256, "-"), ssim.number(None, "-")) == ("31.26", "-")
    assert (error.cell(2.25), error.told(2.25)) == ("  2.2 levels", "E 2.2 levels")
    assert error.told(2.25, title=False) == "2.2 levels"


def test_code_that_is_named_is_imported_when_it_is_used() -> None:
    late = Metric("late", "L", "", 2, "srdeploy.nowhere:f", 0.0, 1.0)
    with pytest.raises(ModuleNotFoundError, match=r"srdeploy\.nowhere"):
        late.measure([], [])  # type: ignore[arg-type]
    root = Metric("root", "R", "", 2, "math:dist", 0.0, 1.0)
    assert root.measure([0.0, 3.0], [4.0, 0.0]) == 5.0  # type: ignore[arg-type]
