"""``srdeploy bench``, ``compare`` and ``zoo``: which option is for what."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.reach import ALL, STOP, Case, calls, exit_code, hold

SCALE: dict[str, Any] = {"srdeploy.runtime.open:scale_of": 2}
READY: dict[str, Any] = {**SCALE, "srdeploy.benchmarking.measuring.plan:check_artifacts": None}
DEVICES: dict[str, Any] = {
    "srdeploy.farm.fleet:tags_of": ["orin"],
    "srdeploy.farm.link:devices": [],
    "srdeploy.farm.network:open_farm": ("the farm", ""),
}
PLAN = {**READY, **DEVICES, "srdeploy.benchmarking.measuring.plan:plan": STOP}
BATCHES: dict[str, Any] = {**READY, "srdeploy.benchmarking.measuring.plan:plan": ["batch"]}
RUN = {**BATCHES, "srdeploy.benchmarking.measuring.plan:run": STOP}
FARM = {**BATCHES, **DEVICES, "srdeploy.farm.client:run": STOP}
WHY = {**SCALE, "srdeploy.benchmarking.deciding.why_run:why": STOP}
SIDES = SimpleNamespace(base=["base"], new=["new"], same_names=False)
MEASURED = {
    **SCALE,
    "srdeploy.benchmarking.deciding.baseline:measured_pair": SIDES,
    "srdeploy.benchmarking.deciding.verdict:judge": STOP,
}
KEPT = {
    "srdeploy.benchmarking.deciding.baseline:stored_pair": SIDES,
    "srdeploy.benchmarking.deciding.verdict:judge": STOP,
}
SPARSE = {"srdeploy.benchmarking.measuring.sparse:break_even": STOP}
COMPARE = {**SCALE, "srdeploy.benchmarking.deciding.compare:compare": STOP}
ZOO = {
    "srdeploy.benchmarking.measuring.zoo:shipped": [],
    "srdeploy.benchmarking.measuring.zoo:timed": STOP,
}

CASES = [
    Case(
        "bench a.st b.st",
        PLAN,
        {
            "check_artifacts.artifacts": ["a.st", "b.st"],
            "scale_of.source": "a.st",
            "plan.devices": ["local"],
            "plan.repeats": 1,
            "plan.settings.scale": 2,
            "plan.settings.data": "builtin",
        },
        {
            "--eval-data Set5": {"plan.settings.data": "Set5"},
            "--scale 3": {"scale_of.source": None, "plan.settings.scale": 3},
            "--device fake://a,fake://b": {"plan.devices": ["fake://a", "fake://b"]},
            "--scenario frame-360p": {
                "plan.scenarios.0.name": "frame-360p",
                "plan.scenarios.0.description": "640x360 input, latency only",
                "plan.scenarios.0.inputs": [[360, 640]],
                "plan.scenarios.0.quality": False,
            },
            "--repeats 2": {"plan.repeats": 2},
            "--input 48x32": {"plan.scenarios.0.inputs": [[32, 48]]},
            "--runs 7": {"plan.scenarios.0.min_runs": 7},
            "--seconds 0.5": {"plan.scenarios.0.min_seconds": 0.5},
            "--no-quality": {"plan.scenarios.0.quality": False},
            "--protocol rgb": {"plan.scenarios.0.protocol": "rgb"},
            "--runtime torch": {"plan.settings.runtime": "torch"},
            "--threads 3": {"plan.settings.threads": 3},
            "--arch edsr": {"scale_of.options.arch": "edsr", "plan.settings.options.arch": "edsr"},
            "--value-range 255": {
                "scale_of.options.value_range": 255.0,
                "plan.settings.options.value_range": 255.0,
            },
            "--dense d.st": {"plan.settings.dense": "d.st"},
            "--farm f --devices orin": {
                "plan.devices": ["orin"],
                "open_farm.path": "f",
                "devices.farm": "the farm",
                "devices.words": ["orin"],
                "tags_of.words": ["orin"],
            },
        },
        ("--json", "--store", "--job-limit", "--apart", "--why", "--output"),
    ),
    Case(
        "bench a.st --store s.sqlite --device fake://x",
        RUN,
        {
            "check_artifacts.artifacts": ["a.st"],
            "scale_of.source": "a.st",
            "plan.devices": ["fake://x"],
            "plan.repeats": 1,
            "plan.settings.scale": 2,
            "plan.settings.data": "builtin",
            "run.artifacts": ["a.st"],
            "run.batches": ["batch"],
            "run.store": "Store",
            "run.watcher": "Watcher",
        },
        {
            "--output turns.jsonl": {"run.journal": "turns.jsonl"},
        },
        ALL,
    ),
    Case(
        "bench a.st --farm f --devices x,y",
        FARM,
        {
            "check_artifacts.artifacts": ["a.st"],
            "open_farm.path": "f",
            "devices.farm": "the farm",
            "devices.words": ["x", "y"],
            "tags_of.words": ["x", "y"],
            "scale_of.source": "a.st",
            "plan.devices": ["orin"],
            "plan.repeats": 1,
            "plan.settings.scale": 2,
            "plan.settings.data": "builtin",
            "run.farm": "the farm",
            "run.artifacts": ["a.st"],
            "run.batches": ["batch"],
            "run.store": "Store",
            "run.watcher": "_Lines",
            "run.asked.job_seconds": 3600.0,
            "run.asked.apart": False,
        },
        {
            "--output turns.jsonl": {"run.journal": "turns.jsonl"},
            "--job-limit 60": {"run.asked.job_seconds": 60.0},
            "--apart": {"run.asked.apart": True},
            "--store s.sqlite": {},
        },
        ALL,
    ),
    Case(
        "bench a.st b.st --why",
        WHY,
        {
            "scale_of.source": "a.st",
            "why.first": "a.st",
            "why.second": "b.st",
            "why.data": "builtin",
            "why.scale": 2,
            "why.runs": 20,
        },
        {
            "--eval-data Set5": {"why.data": "Set5"},
            "--scale 3": {"scale_of.source": None, "why.scale": 3},
            "--input 48x32": {"why.size": [32, 48]},
            "--runs 7": {"why.runs": 7},
            "--threads 3": {"why.threads": 3},
            "--arch edsr": {"scale_of.options.arch": "edsr", "why.options.arch": "edsr"},
            "--value-range 255": {
                "scale_of.options.value_range": 255.0,
                "why.options.value_range": 255.0,
            },
        },
        ALL,
    ),
    Case(
        "bench compare a.st b.st",
        MEASURED,
        {
            "scale_of.source": "a.st",
            "measured_pair.base": "a.st",
            "measured_pair.new": "b.st",
            "measured_pair.devices": ["local"],
            "measured_pair.scenarios.0.quality": False,
            "measured_pair.settings.repeats": 1,
            "measured_pair.settings.scale": 2,
            "measured_pair.settings.data": "builtin",
            "judge.base": ["base"],
            "judge.new": ["new"],
            "judge.same_names": False,
        },
        {
            "--eval-data Set5": {"measured_pair.settings.data": "Set5"},
            "--scale 3": {"scale_of.source": None, "measured_pair.settings.scale": 3},
            "--device fake://a,fake://b": {"measured_pair.devices": ["fake://a", "fake://b"]},
            "--scenario frame-360p": {
                "measured_pair.scenarios.0.name": "frame-360p",
                "measured_pair.scenarios.0.description": "640x360 input, latency only",
                "measured_pair.scenarios.0.inputs": [[360, 640]],
            },
            "--repeats 2": {"measured_pair.settings.repeats": 2},
            "--input 48x32": {"measured_pair.scenarios.0.inputs": [[32, 48]]},
            "--runs 7": {"measured_pair.scenarios.0.min_runs": 7},
            "--seconds 0.5": {"measured_pair.scenarios.0.min_seconds": 0.5},
            "--threads 3": {"measured_pair.settings.threads": 3},
            "--max-slowdown 5%": {"judge.limits.max_slowdown": 0.05},
            "--max-drop 0.1": {
                "measured_pair.scenarios.0.quality": None,
                "judge.limits.max_drop": 0.1,
            },
        },
        ("--json", "--markdown", "--allow-noisy"),
    ),
    Case(
        "bench compare a.json b.json",
        KEPT,
        {
            "stored_pair.base": "a.json",
            "stored_pair.new": "b.json",
            "judge.base": ["base"],
            "judge.new": ["new"],
            "judge.same_names": False,
        },
        {
            "--scenario quick": {"stored_pair.scenario": "quick"},
            "--device x": {"stored_pair.device": "x"},
            "--max-slowdown 0.5": {"judge.limits.max_slowdown": 0.5},
            "--max-drop 0": {"judge.limits.max_drop": 0.0},
        },
        ALL,
    ),
    Case(
        "bench sparse",
        SPARSE,
        {
            "break_even.sides": [64, 128, 256],
            "break_even.backend": "auto",
            "break_even.repeats": 7,
            "break_even.drop": 0.1,
        },
        {
            "net.st": {"break_even.file": "net.st"},
            "--sides 8,16": {"break_even.sides": [8, 16]},
            "--kernel torch": {"break_even.backend": "torch"},
            "--runs 1": {"break_even.repeats": 1},
            "--threads 2": {"break_even.threads": 2},
            "--eval-data Set5": {"break_even.images": "Set5"},
            "--max-drop .2": {"break_even.drop": 0.2},
            "--runtime openvino,ncnn": {"break_even.runtimes": ["openvino", "ncnn"]},
            "--dispatch a.dispatch": {"break_even.dispatch": "a.dispatch"},
        },
        ("--json", "--device", "--output"),
    ),
    Case(
        "compare a.st b.st",
        COMPARE,
        {
            "scale_of.source": "a.st",
            "compare.artifacts": ["a.st", "b.st"],
            "compare.data": "builtin",
            "compare.scale": 2,
        },
        {
            "--eval-data Set5": {"compare.data": "Set5"},
            "--scale 3": {"scale_of.source": None, "compare.scale": 3},
            "--input 48x32": {"compare.scenario.inputs": [[32, 48]]},
            "--runs 7": {"compare.scenario.min_runs": 7},
            "--seconds 0.5": {"compare.scenario.min_seconds": 0.5},
            "--dense d.st": {"compare.dense": "d.st"},
            "--threads 3": {"compare.threads": 3},
            "--arch edsr": {"scale_of.options.arch": "edsr", "compare.options.arch": "edsr"},
            "--value-range 255": {
                "scale_of.options.value_range": 255.0,
                "compare.options.value_range": 255.0,
            },
        },
    ),
    Case(
        "zoo --time",
        ZOO,
        {"timed.scenario.inputs": [[160, 240]], "timed.scenario.quality": False},
        {
            "--input 48x32": {"timed.scenario.inputs": [[32, 48]]},
            "--runs 7": {"timed.scenario.min_runs": 7},
            "--seconds 0": {"timed.scenario.min_seconds": 0.0},
            "--threads 3": {"timed.threads": 3},
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


def test_a_farms_store_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = SimpleNamespace(error=None, session="s", model_dump=lambda mode: {})
    measured = {**FARM, "srdeploy.farm.client:run": [row]}
    calls("bench a.st --farm f --devices x --json", measured)
    told = "the results are kept in 'results.sqlite', here; --store FILE names another store\n"
    assert capsys.readouterr().err == told
    calls("bench a.st --farm f --devices x --store s.sqlite --json", measured)
    assert "kept in" not in capsys.readouterr().err


ROW = SimpleNamespace(error=None, model_dump=lambda mode: {"mode": mode})
FAILED = SimpleNamespace(error="It went away.", model_dump=lambda mode: {"mode": mode})


@pytest.mark.parametrize(("rows", "code"), [([ROW], 0), ([ROW, FAILED], 1)])
@pytest.mark.parametrize("farm", [False, True])
def test_a_failed_row_is_exit_1_and_tables_are_the_default(
    rows: list[Any],
    code: int,
    farm: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    replaced = {**BATCHES, **DEVICES, "srdeploy.benchmarking.showing.table:tables": ["the table"]}
    replaced["srdeploy.farm.client:run" if farm else "srdeploy.benchmarking.measuring.plan:run"] = (
        rows
    )
    line = "bench a.st" + (" --farm f --devices x" if farm else "")
    assert calls(line, replaced)["tables.rows"] == ["SimpleNamespace"] * len(rows)
    assert capsys.readouterr().out == "the table\n"
    assert "tables.rows" not in calls(f"{line} --json", replaced)
    assert json.loads(capsys.readouterr().out) == [{"mode": "json"}] * len(rows)
    assert exit_code(line, replaced) == code


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("bench a.st --apart", "add --farm FILE"),
        ("bench a.st --job-limit 5", "add --farm FILE"),
        ("bench a.st --devices x", "add --farm FILE"),
        ("bench a.st --farm f", "--devices TAG"),
        ("bench a.st --farm f --devices x --device fake://a", "--devices TAG"),
        ("bench a.st b.st --why --devices x", "leave out --devices"),
        ("bench a.st b.st c.st --why", "--why compares two artifacts, not 3."),
        ("bench sparse --device ssh://x", "no device of this measurement named 'ssh://x'"),
        ("bench sparse --kernel x", "no kernel named 'x'"),
        ("bench sparse -o chart.png", "must end in .svg"),
        ("bench sparse --dispatch chart.json", "must end in .dispatch"),
        ("bench sparse --runtime nccn", "did you mean 'ncnn'"),
        ("bench compare a.json b.st", "'b.st' is no store of results"),
        ("bench compare a.st b.json", "'a.st' is no store of results"),
        ("bench compare a.st b.st --max-slowdown 1", "e.g. 5%"),
        ("zoo --runs 5", "add --time"),
        ("zoo --input 32x24", "add --time"),
        ("bench a.st -o turns.csv", "must end in .jsonl"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    line: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(line, PLAN) == 2
    assert told in capsys.readouterr().err
