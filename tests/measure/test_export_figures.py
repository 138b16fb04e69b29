"""A line of the CSV holds each figure under its own name."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.measure.export import check_export, export_measurements, read_json, summary
from srdeploy.measure.scenario import Scenario
from tests.benchmarking.material import FULL, measured

SAMPLES = [10.0, 30.0, 20.00005, 40.0]
WHOLE = measured(
    SAMPLES, [3, 1], scenario=Scenario(name="one", batch=4),
    **(FULL | {"compute_ms": [1.0, 2.0, 4.0, 8.0]}),
)  # fmt: skip


def test_every_figure_has_its_column() -> None:
    assert summary(WHOLE) == {
        "artifact": "net.onnx", "sha256": "ab", "device": "fake://x", "model": "board",
        "scenario": "one", "lr_width": 30, "lr_height": 20, "scale": 2, "batch": 4, "repeat": 1,
        "session": "s", "started": "2026-01-01T00:00:00+00:00", "runtime": "onnxruntime",
        "runtime_version": "1.20", "provider": "cpu", "precision": "fp16", "threads": 2,
        "build_ms": 7.0, "load_ms": 8.0, "first_ms": 9.0, "runs": 4, "p50_ms": 25.0, "p90_ms": 37.0,
        "p99_ms": 39.7, "compute_p50_ms": 3.0, "peak_mb": 64.5, "mean_w": 5.0,
        "energy_j_per_frame": 0.25, "load_before": 0.5, "hottest_before_c": 40.0,
        "hottest_after_c": 45.0, "psnr": 30.5, "ssim": 0.9, "agreement": None,
        "lpips": None, "dists": None, "protocol": "psnr[y]", "data": "set",
        "params": 1234, "macs_720p": 5_600_000_000, "error": None,
    }  # fmt: skip


def test_what_is_not_known_is_none() -> None:
    bare = summary(measured([], lr_size=None, error="fell"))
    assert (bare["runs"], bare["error"]) == (0, "fell")
    for name in (
        *("lr_width", "lr_height", "p50_ms", "p90_ms", "p99_ms", "mean_w", "energy_j_per_frame"),
        *("hottest_before_c", "hottest_after_c", "psnr", "ssim", "protocol", "data"),
    ):
        assert bare[name] is None, name


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_line_for_each_sample(tmp_path: Path) -> None:
    other = measured([5.0], artifact="b.onnx", repeat=2, compute_ms=[])
    export_measurements([WHOLE, other], tmp_path / "s.CSV", samples=True)
    lines = read(tmp_path / "s.CSV")
    assert lines[0] == {
        "artifact": "net.onnx", "device": "fake://x", "scenario": "one", "session": "s",
        "repeat": "1", "turn": "0", "sample": "0", "ms": "10.0", "compute_ms": "1.0",
    }  # fmt: skip
    assert [(row["turn"], row["sample"], row["ms"]) for row in lines] == [
        ("0", "0", "10.0"), ("0", "1", "30.0"), ("0", "2", "20.00005"), ("1", "3", "40.0"),
        ("0", "0", "5.0"),
    ]  # fmt: skip
    assert (lines[4]["artifact"], lines[4]["repeat"], lines[4]["compute_ms"]) == ("b.onnx", "2", "")
    part = WHOLE.model_copy(update={"compute_ms": [1.0]})  # not of the same runs
    export_measurements([part], tmp_path / "t.csv", samples=True)
    assert {row["compute_ms"] for row in read(tmp_path / "t.csv")} == {""}


def test_samples_whose_turns_nobody_counted(tmp_path: Path) -> None:
    other = WHOLE.model_copy(update={"turns": []})
    export_measurements([other], tmp_path / "a.csv", samples=True)
    assert [(row["turn"], row["sample"]) for row in read(tmp_path / "a.csv")] == [
        ("", "0"), ("", "1"), ("", "2"), ("", "3"),
    ]  # fmt: skip


def test_nothing_found_is_an_empty_file(tmp_path: Path) -> None:
    export_measurements([], tmp_path / "a.csv")
    export_measurements([], tmp_path / "a.json")
    assert (tmp_path / "a.csv").read_text() == ""
    assert (tmp_path / "a.json").read_text() == "[]\n"
    assert read_json(tmp_path / "a.json") == []


def test_json_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    export_measurements([WHOLE, WHOLE], path)
    assert read_json(path) == [WHOLE, WHOLE]
    assert path.read_text().startswith("[\n {\n")


@pytest.mark.parametrize("text", ["", "{", "3", "null", '{"a": {}}', "[{}, 3]", '"ab"'])
def test_other_json_is_no_list_of_measurements(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(UserError, match=r"a\.json' is no JSON list of measurements"):
        read_json(tmp_path / "a.json")


def test_one_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([json.loads(WHOLE.to_json()), {"format": 9}]))
    with pytest.raises(UserError, match=r"a\.json' holds no measurement"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / "absent.json")


@pytest.mark.parametrize(
    ("name", "samples", "sentence"),
    [
        (None, True, "--samples is for a .csv"),
        ("a.json", True, "--samples is for a .csv"),
        ("a.txt", False, "neither .json nor .csv"),
        ("file/a.csv", False, "file"),
        ("a.txt", True, "--samples is for a .csv"),
    ],
)
def test_what_cannot_be_exported(
    name: str | None, samples: bool, sentence: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=sentence):
        check_export(tmp_path / name if name else None, samples)


def test_what_can_be_exported(tmp_path: Path) -> None:
    check_export(None, False)
    for name, samples in (("a.csv", True), ("A.CSV", True), ("a.JSON", False), ("a.csv", False)):
        check_export(tmp_path / name, samples)
