"""Infinite figures are JSON, and come back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.journal import open_journal
from srdeploy.cli.output import emit
from srdeploy.measure.export import export_measurements, read_json
from srdeploy.train.journal import TrainingJournal, read_metrics
from srdeploy.util.figures_json import dumps, figure
from srdeploy.util.progress import track

DOCUMENT = {"psnr": math.inf, "drop": -math.inf, "mean": [math.nan, 1.5], "name": "x", "n": (1, 2)}
WRITTEN = {"psnr": "Infinity", "drop": "-Infinity", "mean": ["NaN", 1.5], "name": "x", "n": [1, 2]}


def strictly(text: str) -> object:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_every_reader_takes_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert strictly(dumps(DOCUMENT)) == WRITTEN
    emit(DOCUMENT)
    assert strictly(capsys.readouterr().out) == WRITTEN


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1.5, 3, 0])
def test_figures_come_back(value: float) -> None:
    assert figure(json.loads(dumps(value))) == value
    assert type(figure(value)) is type(value)


def test_what_is_no_figure() -> None:
    assert math.isnan(figure("NaN") or 0.0)
    for value in ("nan", "inf", "", None, True, [1.0]):
        assert figure(value) is None


def test_journals(tmp_path: Path) -> None:
    with open_journal(tmp_path / "turns.jsonl") as journal:
        journal.write("row", **DOCUMENT)
    assert strictly((tmp_path / "turns.jsonl").read_text()) == {"event": "row", **WRITTEN}
    with track("x", 1) as bar:
        training = TrainingJournal(tmp_path, 0, bar, False)
        training.write(3, psnr_y=math.inf, protocol="psnr[y]")
    assert strictly((tmp_path / "metrics.jsonl").read_text())
    assert read_metrics(tmp_path) == [{"iteration": 3, "psnr_y": math.inf, "protocol": "psnr[y]"}]


def test_exports(tmp_path: Path) -> None:
    from tests.reporting.material import measurement

    found = [measurement("net.onnx", 5, math.inf, 1e9)]
    export_measurements(found, tmp_path / "a.json")
    strictly((tmp_path / "a.json").read_text())
    assert read_json(tmp_path / "a.json") == found
    export_measurements(found, tmp_path / "a.csv")
    assert ",inf," in (tmp_path / "a.csv").read_text()


@pytest.mark.parametrize(
    ("value", "told"),
    [("Infinity", math.inf), ("-Infinity", -math.inf), ("infinity", None), ("1", None), (0, 0),
     (1.5, 1.5), (True, None), (False, None), (None, None), ([], None)],
)  # fmt: skip
def test_which_values_are_figures(value: object, told: float | None) -> None:
    found = figure(value)
    assert found == told
    assert type(found) is type(told)
    assert math.isnan(figure("NaN") or 0)


def test_infinities_anywhere() -> None:
    document = {"a": [math.inf, (-math.inf, 1.0)], "b": {"c": math.nan, "d": None, "e": True}}
    assert dumps(document) == (
        '{"a": ["Infinity", ["-Infinity", 1.0]], "b": {"c": "NaN", "d": null, "e": true}}'
    )
    assert dumps({"a": 1}, indent=1) == '{\n "a": 1\n}'
