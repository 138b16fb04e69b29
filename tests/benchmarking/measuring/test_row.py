"""A row holds every figure of its measurement, in the row's units."""

from __future__ import annotations

import math
from typing import Any

import pytest

from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.quality.result import Quality
from tests.benchmarking.material import FACTS, FULL, measured


def test_every_figure_arrives() -> None:
    one = measured([10.0, 30.0, 20.0], **FULL)
    row = row_of(one, one)
    for name in (
        "artifact", "sha256", "device", "session", "repeat", "started", "runtime",
        "runtime_version", "provider", "precision", "threads", "lr_size", "input", "params",
        "macs_720p", "build_ms", "load_ms", "first_ms", "samples_ms", "turns", "compute_ms",
        "peak_mb", "error", "scale",
    ):  # fmt: skip
        assert getattr(row, name) == getattr(one, name), name
    assert (row.p50_ms, row.mean_ms, row.min_ms, row.iqr_ms, row.n_samples) == (20, 20, 10, 10, 3)
    assert (row.p90_ms, row.p99_ms) == (28, 29.8)
    assert row.compute_p50_ms == 2
    assert (row.power_w, row.energy_mj, row.power_source) == (5, 250, "rail r")
    assert (row.data, row.psnr_y, row.ssim_y, row.psnr_bicubic) == ("set", 30.5, 0.9, 29)
    assert (row.n_images, row.protocol, row.psnr_rgb, row.ssim_rgb) == (3, "psnr[y]", None, None)
    assert row.machine == {**FACTS.model_dump(mode="json"), "load_1min": 0.5}
    assert row.before == {
        "power_mode": "15W", "load_1min": 0.5, "temperatures_c": {"a": 40},
    }  # fmt: skip
    assert row.after == {"power_mode": "15W", "temperatures_c": {"a": 45}}
    assert row.note == "one; two"
    assert row.scenario["name"] == "one"
    assert row.drift is None


def test_figures_that_are_not_there() -> None:
    one = measured([], scale=None, error="net.onnx: fell")
    row = row_of(one, one)
    assert (row.p50_ms, row.n_samples, row.power_w, row.note, row.speedup) == (None, 0, *[None] * 3)
    assert (row.scale, row.error, row.before, row.after) == (1, "net.onnx: fell", {}, {})


def test_quality_of_colours_has_names_of_its_own() -> None:
    figures = Quality(psnr=30, ssim=0.9, colour="rgb", protocol="psnr[rgb]", n_images=1, data="d")
    one = measured([1.0], quality=figures)
    row = row_of(one, one)
    assert (row.psnr_rgb, row.ssim_rgb, row.psnr_y, row.ssim_y) == (30, 0.9, None, None)


def test_a_speedup_takes_a_shared_session() -> None:
    base, other = measured([20.0, 40.0, 60.0]), measured([10.0, 20.0, 30.0])
    row = row_of(other, base)
    assert (row.speedup, row.speedup_low, row.speedup_high) == (2, 2, 2)
    for change in ({"session": "t"}, {"session": None}, {"samples_ms": [], "turns": []}):
        assert row_of(other.model_copy(update=change), base).speedup is None
    alone = base.model_copy(update={"session": None})
    assert row_of(other.model_copy(update={"session": None}), alone).speedup is None


def test_a_row_of_a_minute_tells_drift() -> None:
    one = measured([1000.0] * 10 + [1500.0] * 80 + [2000.0] * 10)
    assert row_of(one, one).drift == pytest.approx(2)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"psnr_y": None, "ssim_y": 1.0}, math.inf),
        ({"psnr_y": None, "ssim_y": None}, None),
        ({"psnr_y": None}, None),
        ({"ssim_y": 1.0}, None),  # not told at all, so not known
        ({"psnr_y": 30.0, "ssim_y": 1.0}, 30.0),
    ],
)
def test_an_infinite_psnr_of_earlier_rows(given: dict[str, Any], read: float | None) -> None:
    told = {"artifact": "a", "scenario": {}, "machine": {}, "scale": 2}
    assert Row.model_validate(told | given).psnr_y == read
    other = {name.replace("_y", "_rgb"): value for name, value in given.items()}
    assert Row.model_validate(told | other).psnr_rgb == read


def test_the_keys_of_its_json() -> None:
    one = measured([10.0], **FULL)
    assert set(row_of(one, one).model_dump(mode="json")) == {
        "artifact", "sha256", "device", "session", "repeat", "started", "runtime",
        "runtime_version", "provider", "precision", "threads", "scenario", "machine", "before",
        "after", "scale", "lr_size", "input", "params", "macs_720p", "build_ms", "load_ms",
        "first_ms", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "min_ms", "iqr_ms", "n_samples",
        "samples_ms", "turns", "compute_p50_ms", "compute_ms", "drift", "drift_low", "drift_high",
            "fps", "fps_alone", "dropped",
        "power_w", "energy_mj", "power_source", "speedup", "speedup_low", "speedup_high",
        "peak_mb", "data", "psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb", "psnr_bicubic", "n_images",
        "protocol", "note", "error", "agreement_y", "agreement_rgb", "lpips_y", "lpips_rgb",
        "dists_y", "dists_rgb",
    }  # fmt: skip
