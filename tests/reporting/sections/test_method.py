"""How it was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.measure.measurement import Conditions
from srdeploy.reporting.data import ReportData
from srdeploy.reporting.sections import method
from srdeploy.reporting.sources import Evidence, SourceEntry
from tests.golden import by_tags, same_as
from tests.reporting.material import measurement, measurements

GOLDEN = Path(__file__).parents[1] / "golden"


def row(**changes: object) -> Row:
    one = measurement("net.onnx", 5, 33.0, 1e9)
    return row_of(one, one).model_copy(update=changes)


def entry(row: Row, folder: str = "here") -> SourceEntry:
    return SourceEntry(row, measurement("net.onnx", 5, 33.0, 1e9), Path(folder))


def test_the_whole_section() -> None:
    evidence = Evidence(
        [SourceEntry(row_of(one, one), one, Path("here")) for one in measurements()]
    )
    same_as(GOLDEN / "method.html", by_tags(method.method(ReportData(evidence)) or ""))


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, ""),
        ({"model": "unknown", "cpu": "Core", "cpus": 1}, "Core, 1 core"),
        ({"model": "xavier", "cpu": "unknown", "os": "z/OS"}, "xavier, z/OS"),
        ({"model": "Core", "cpu": "Core", "cpus": 4}, "Core, 4 cores"),
        ({"model": "B", "gpu": "G", "memory_gb": 7.96, "arch": "arm64", "os": "Linux 6",
          "versions": {"cuda": "12.4", "jetpack": "6"}},
         "B, G, 8.0 GB, arm64, Linux 6, cuda 12.4, jetpack 6"),
    ],
)  # fmt: skip
def test_machine(facts: dict[str, object], told: str) -> None:
    assert method._machine(facts) == told


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        ({}, "scenario default"),
        ({"name": "own", "inputs": ["median", [270, 480]], "description": "As told."},
         "scenario own 480×270; As told."),
        ({"warmup_runs": 3, "min_runs": 50, "min_seconds": 2.5, "tile": 96, "turn_seconds": 1.5},
         "scenario default; 3 runs thrown away first; at least 50 samples; covering at least "
         "2.5 s; tiles of 96 pixels; artifacts took turns of 1.5 s"),
        ({"sustained": True, "turn_seconds": 1.5, "tile": None},
         "scenario default; each artifact alone, without a pause"),
    ],
)  # fmt: skip
def test_scenario(conditions: dict[str, object], told: str) -> None:
    assert method._scenario(row(scenario=conditions)) == told


def test_conditions_are_ranges_over_the_artifacts() -> None:
    states = [
        {"power_mode": "MAXN", "clocks_mhz": {"cpu": 1500.4, "gpu": 900.0}, "load_1min": 0.24},
        {"power_mode": "MAXN", "clocks_mhz": {"cpu": 1501.6}, "temperatures_c": {"tj": 49.5},
         "load_1min": 0.0, "thermal": "nominal"},
        {"power_mode": "15W", "thermal": "fair"},
    ]  # fmt: skip
    assert method._conditions(states) == (
        "MAXN, 15W, cpu 1500–1502 MHz, gpu 900 MHz, tj 50 °C, load over a minute 0.0–0.2, "
        "nominal, fair"
    )
    assert method._conditions([{}]) == ""
    assert method._conditions([Conditions().model_dump(mode="json")]) == ""


def test_quality_names_each_kind_once() -> None:
    rows = [
        row(protocol="p", data="d", n_images=4),
        row(protocol="p", data="d", n_images=4),
        row(protocol="p", data="e", n_images=5),
        row(protocol=None),
        row(protocol="p", n_images=None),
    ]
    assert method._quality(rows) == "p on d, 4 images; p on e, 5 images"


def test_when_it_was_measured_to_the_minute() -> None:
    times = ["2026-01-02T03:05:59+00:00", None, "2026-01-02T03:04:01+00:00"]
    rows = [row(started=time) for time in times]
    assert method._span(rows) == ["2026-01-02 03:04 UTC", "2026-01-02 03:05 UTC"]
    assert method._span(rows[:1]) == ["2026-01-02 03:05 UTC"]
    assert method._span(rows[1:2]) == []


def test_notes_are_sentences_told_once() -> None:
    rows = [row(note="No sensors"), row(note="No sensors"), row(note=None), row(note="Else.")]
    assert method._noted(rows) == ["No sensors.", "Else."]


UNTOLD = {
    **dict.fromkeys(("runtime", "runtime_version", "provider", "precision", "threads", "input")),
    **dict.fromkeys(("load_ms", "first_ms", "sha256")),
    "n_samples": 0,
    "samples_ms": [],
}


def test_what_is_not_known_is_a_dash() -> None:
    assert method._ran(entry(row(**UNTOLD))) == [
        "<strong>net.onnx</strong>", "– ", "not known", *7 * ["–"],
    ]  # fmt: skip


def test_what_is_known_is_told() -> None:
    one = row(runtime="o<r>t", load_ms=120.4, first_ms=10.04, threads=0, sha256="ab" * 32)
    assert method._ran(entry(one)) == [
        "<strong>net.onnx</strong>", "o&lt;r&gt;t <small>1.31 CPU</small>", "fp32", "0", "60", "6",
        "1×3×96×128", "120", "10.0", "<code>abababababab</code>",
    ]  # fmt: skip
