from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.measure.export import check_export, export_measurements, read_json, summary
from srdeploy.measure.measurement import Conditions, DeviceFacts, Measurement, Power
from srdeploy.measure.scenario import Scenario


def made(**changes: Any) -> Measurement:
    values: dict[str, Any] = {
        "artifact": "net, with a comma.onnx",
        "device": "local",
        "facts": DeviceFacts(kind="local", model="desk"),
        "scenario": Scenario(),
        "started": "2026-01-02T03:04:05+00:00",
        "lr_size": (270, 480),
        "samples_ms": [3.0, 1.0, 2.0],
        "compute_ms": [2.5, 0.5, 1.5],
        "turns": [1, 2],
        "after": Conditions(temperatures_c={"cpu": 50.5, "gpu": 61.0}),
        "power": Power(
            mean_w=5, peak_w=6, energy_j_per_frame=0.01, rails=("a",), source="a", readings=9
        ),
    }
    return Measurement(**(values | changes))


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_json_holds_everything(tmp_path: Path) -> None:
    found = [made(), made(error="fell", samples_ms=[], compute_ms=[], turns=[], power=None)]
    export_measurements(found, tmp_path / "m.json")
    assert read_json(tmp_path / "m.json") == found


def test_csv_has_a_line_per_measurement(tmp_path: Path) -> None:
    failed = made(error="fell", samples_ms=[], compute_ms=[], turns=[], power=None, lr_size=None)
    export_measurements([made(), failed], tmp_path / "m.csv")
    first, second = rows_of(tmp_path / "m.csv")
    assert first["artifact"] == "net, with a comma.onnx"
    assert (first["p50_ms"], first["compute_p50_ms"], first["runs"]) == ("2.0", "1.5", "3")
    assert (first["lr_width"], first["lr_height"]) == ("480", "270")
    assert (first["mean_w"], first["hottest_after_c"]) == ("5.0", "61.0")
    assert (second["error"], second["p50_ms"], second["lr_width"]) == ("fell", "", "")


def test_csv_of_raw_samples(tmp_path: Path) -> None:
    export_measurements([made(), made(compute_ms=[])], tmp_path / "m.csv", samples=True)
    rows = rows_of(tmp_path / "m.csv")
    assert [row["ms"] for row in rows] == ["3.0", "1.0", "2.0"] * 2
    assert [row["turn"] for row in rows[:3]] == ["0", "1", "1"]
    assert [row["compute_ms"] for row in rows] == ["2.5", "0.5", "1.5", "", "", ""]


def test_summary_of_nothing_has_every_key() -> None:
    bare = made(samples_ms=[], compute_ms=[], turns=[], power=None, lr_size=None)
    assert summary(bare).keys() == summary(made()).keys()


def test_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither \.json nor \.csv"):
        check_export(tmp_path / "m.xlsx", samples=False)
    with pytest.raises(UserError, match="--samples is for a"):
        check_export(tmp_path / "m.json", samples=True)
    with pytest.raises(UserError, match="is a folder"):
        (tmp_path / "d.csv").mkdir()
        check_export(tmp_path / "d.csv", samples=False)


@pytest.mark.parametrize("text", ["{", "{}", "[1, 2]", '[{"artifact": "x"}]', "\x00\xff"])
def test_other_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=r"no JSON list of measurements|holds no measurement"):
        read_json(tmp_path / "m.json")
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / "absent.json")
