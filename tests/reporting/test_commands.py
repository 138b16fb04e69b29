"""The commands that repeat what a page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.measure.scenario import Scenario
from srdeploy.reporting import commands
from srdeploy.reporting.run_folder import RunFolder
from srdeploy.reporting.sources import Evidence, SourceEntry
from tests.reporting.material import measurement


def row(**changes: object) -> Row:
    one = measurement("net.onnx", 5, 33.0, 1e9)
    return row_of(one, one).model_copy(update=changes)


def entry(row: Row, folder: str = "here") -> SourceEntry:
    return SourceEntry(row, measurement("net.onnx", 5, 33.0, 1e9), Path(folder))


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"threads": None, "data": None}, " --scale 2"),
        ({}, " --scale 2 --eval-data builtin --threads 2"),
        ({"scale": 4, "threads": 0, "data": "my set", "device": "ssh://me@a b"},
         " --scale 4 --device 'ssh://me@a b' --eval-data 'my set' --threads 0"),
        ({"threads": None, "data": None,
          "scenario": {"name": "own", "inputs": ["median", [270, 480], [1, 2]]}},
         " --scale 2 --input 480x270"),
        ({"threads": None, "data": None, "scenario": {"name": "own", "inputs": ["median"]}},
         " --scale 2"),
        ({"threads": None, "data": None, "scenario": {"name": "sustained", "inputs": [[270, 480]]}},
         " --scale 2 --scenario sustained"),
        ({"threads": None, "data": None, "runtime": "openvino"},
         " --scale 2 --runtime openvino"),
        ({"threads": None, "data": None, "runtime": "openvino", "device": "adb://x"},
         " --scale 2 --device adb://x"),
        ({"threads": None, "data": None, "runtime": "openvino", "device": "ssh://x"},
         " --scale 2 --device ssh://x"),
        ({"threads": None, "data": None, "runtime": "coreml"}, " --scale 2 --runtime coreml"),
        ({"threads": None, "data": None, "runtime": "foreign"}, " --scale 2"),
        ({"threads": None, "data": None, "runtime": "torch", "artifact": "net.safetensors"},
         " --scale 2"),
    ],
)  # fmt: skip
def test_options_of_the_command(changes: dict[str, object], options: str) -> None:
    assert commands._options(row(**changes)) == options


def test_commands_name_each_artifact_once_and_skip_those_of_runs() -> None:
    one, two = row(), row(artifact="a b.onnx")
    evidence = Evidence(
        [
            entry(one),
            entry(one),
            entry(two),
            entry(row(artifact="its.onnx"), "my run"),
            entry(row(scale=3)),
        ],
        [RunFolder(Path("my run"), [], {})],
    )
    tail = "--eval-data builtin --threads 2"
    assert commands.commands_of(evidence, "srdeploy report x") == [
        "srdeploy run 'my run'/line.yaml --run-dir 'my run'",
        f"srdeploy bench net.onnx 'a b.onnx' --scale 2 {tail}",
        f"srdeploy bench net.onnx --scale 3 {tail}",
        "srdeploy report x",
    ]


def test_a_scenario_of_ones_own_is_repeated_by_its_size() -> None:
    one = measurement("n.onnx", 5, None, 1e9, scenario=Scenario(name="mine", inputs=((64, 80),)))
    assert " --input 80x64" in commands._options(row_of(one, one))


def test_the_command_repeats_what_was_asked() -> None:
    one = row()
    assert commands.own_command(["a b.json", one], Path("out.html"), ["x.json", Path("y")]) == (
        "srdeploy report 'a b.json' -o out.html --baseline x.json --baseline y"
    )
    assert commands.own_command([one], Path("o.html"), []) == "srdeploy report RESULTS -o o.html"
