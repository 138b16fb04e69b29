"""``srdeploy report``, ``masks``, ``explain``, ``scenarios``, ``results``: options, and output."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer

from srdeploy.cli import explain, masks, report, results
from srdeploy.cli.main import run
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store
from tests.cli.reach import STOP, Case, calls, exit_code, hold

REPORT = {"srdeploy.reporting.page:write_report": STOP}
MASKS = {
    "srdeploy.models.load:load_network": "network",
    "srdeploy.data.images:read_rgb": "picture",
    "srdeploy.sparse.masks:find_masks": STOP,
}
EXPLAIN = {"srdeploy.exporting.provenance:tell": STOP}
SCENARIO = {"srdeploy.measure.scenario:find_scenario": STOP}

CASES = [
    Case(
        "report",
        REPORT,
        {
            "write_report.output": "report.html",
            "write_report.images": "builtin",
            "write_report.limits.max_slowdown": 0.05,
            "write_report.limits.max_drop": 0.05,
        },
        {
            "a.sqlite b.json": {"write_report.sources": ["a.sqlite", "b.json"]},
            "-o p.html": {"write_report.output": "p.html"},
            "--baseline c --baseline d": {"write_report.baseline": ["c", "d"]},
            "--max-slowdown 0.1": {"write_report.limits.max_slowdown": 0.1},
            "--max-drop 0.2": {"write_report.limits.max_drop": 0.2},
            "--eval-data Set5": {"write_report.images": "Set5"},
            "--title T": {"write_report.title": "T"},
        },
    ),
    Case(
        "masks net.st a.png -o out",
        MASKS,
        {
            "load_network.path": "net.st",
            "read_rgb.path": "a.png",
            "find_masks.network": "network",
            "find_masks.image": "picture",
        },
        {},
    ),
    Case(
        "explain net.onnx",
        EXPLAIN,
        {"tell.file": "net.onnx"},
        {},
    ),
    Case(
        "scenarios quick",
        SCENARIO,
        {"find_scenario.name": "quick"},
        {},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


def test_what_report_prints(capsys: pytest.CaptureFixture[str]) -> None:
    found = SimpleNamespace(
        remarks=["a remark"], sentences=["It is fast."], output=Path("p.html"),
        sections=["summary", "method"], to_dict=lambda: {"output": "p.html"},
    )  # fmt: skip
    replaced = {"srdeploy.reporting.page:write_report": found}
    calls("report a", replaced)
    assert capsys.readouterr() == ("It is fast.\np.html: summary, method\n", "a remark\n")
    calls("report a --json", replaced)
    assert capsys.readouterr() == ('{\n  "output": "p.html"\n}\n', "a remark\n")
    assert exit_code("report a --max-slowdown -0.1", replaced) == 2
    assert exit_code("report a --max-drop -0.1", replaced) == 2
    assert exit_code("report a --max-slowdown 0 --max-drop 0", replaced) == 0


def test_what_explain_prints(capsys: pytest.CaptureFixture[str]) -> None:
    chapters = [SimpleNamespace(step="train", told=["One.", "Two."])] * 10
    story = SimpleNamespace(
        file="n.onnx", network="edsr x2", bytes=1024 * 1500, sha256="ab", weights_sha256="cd",
        chapters=chapters, gaps=["who made it"], to_dict=lambda: {"file": "n.onnx"},
    )  # fmt: skip
    replaced = {"srdeploy.exporting.provenance:tell": story}
    calls("explain n.onnx", replaced)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:5] == ["n.onnx: edsr x2", "  1,500 KiB, sha256 ab", "  weights sha256 cd",
                         "  1. train: One.", "     Two."]  # fmt: skip
    assert lines[-3:] == [" 10. train: One.", "     Two.", "  not known: who made it"]
    story.weights_sha256 = None
    calls("explain n.onnx", replaced)
    assert "weights" not in capsys.readouterr().out
    calls("explain n.onnx --json", replaced)
    assert json.loads(capsys.readouterr().out) == {"file": "n.onnx"}


@pytest.fixture
def layers() -> Any:
    layers = [SimpleNamespace(macs=1.0), SimpleNamespace(macs=0.126)]
    modules = [SimpleNamespace(inside=0.5, layers=layers, mask="m")] * 2
    return SimpleNamespace(
        modules=modules, masked_share=0.755, computed_macs=1e6, macs=2e9,
        to_dict=lambda: {"modules": 2},
    )  # fmt: skip


def test_what_masks_prints(layers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replaced = {
        "srdeploy.models.load:load_network": "network",
        "srdeploy.data.images:read_rgb": np.zeros((9, 14, 3), np.uint8),
        "srdeploy.data.images:write_png": None,
        "srdeploy.reporting.masks_page:overlay": None,
        "srdeploy.reporting.masks_page:heat": None,
        "srdeploy.reporting.masks_page:masks_page": "the page",
        "srdeploy.sparse.masks:find_masks": layers,
    }
    out = tmp_path / "a" / "b"
    seen = calls(f"masks d/net.st d/a.png -o {out}", replaced)
    assert (seen["masks_page.title"], seen["masks_page.network"]) == ("a.png", "net.st")
    assert capsys.readouterr().out.splitlines() == [
        "module 1:  50% of the pixels; layers computed: 100%, 13%",
        "module 2:  50% of the pixels; layers computed: 100%, 13%",
        "76% of the masked layers' MACs, 1.00M of 2.0G in all",
        str(out / "index.html"),
    ]
    assert (out / "index.html").read_text() == "the page"
    document = {"file": "d/net.st", "image": "d/a.png", "size": [9, 14], "modules": 2}
    assert json.loads((out / "masks.json").read_text()) == document
    calls(f"masks d/net.st d/a.png -o {out} --json", replaced)
    assert json.loads(capsys.readouterr().out) == document


def measurement(name: str, **values: Any) -> Measurement:
    facts = DeviceFacts(kind="local", model="a desk")
    scenario = Scenario(name=values.pop("scenario", "quick"))
    started = values.pop("started", "2026-01-02T03:04:05+00:00")
    return Measurement(artifact=name, device=values.pop("device", "local"), facts=facts,
                       scenario=scenario, started=started, **values)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "s.sqlite") as opened:
        done: dict[str, Any] = {"samples_ms": [1.0, 2.0, 3.0], "turns": [3]}
        lost: dict[str, Any] = {"device": "ssh:x", "error": "It went away."}
        opened.add(measurement("a.onnx", lr_size=(20, 30), **done), "a")
        opened.add(measurement("b.onnx", repeat=1, scenario="long", **done), "b")
        opened.add(measurement("c.onnx", **lost), "c")
        opened.add(measurement("d.onnx", **lost), "d")
    return tmp_path / "s.sqlite"


def test_what_results_prints(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["results", str(store)]) == 0
    told = capsys.readouterr().out
    lines = [line.split() for line in told.splitlines() if line.strip()]
    assert lines[0] == ["p50", "p90"]
    assert ["a.onnx", "local", "quick", "30x20", "2.000", "2.800", "2026-01-02"] in lines
    assert ["b.onnx", "local", "long", "(2)", "2.000", "2.800", "2026-01-02"] in lines
    assert ["c.onnx", "ssh:x", "quick", "-", "-", "failed"] in lines
    assert told.endswith("\nfailed: It went away.\n")
    assert told.count("It went away.") == 1


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("", "abcd"),
        ("--artifact [ab]*", "ab"),
        ("--device ssh:*", "cd"),
        ("--scenario long", "b"),
        ("--no-failed", "ab"),
        ("--artifact c* --no-failed", ""),
    ],
)
def test_results_are_chosen(
    store: Path, words: str, names: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["results", str(store), "--json", *words.split()]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["artifact"] for row in rows] == [f"{name}.onnx" for name in names]
    assert run(["results", str(store), *words.split()]) == 0
    assert ("no such measurement" in capsys.readouterr().out) == (not names)


def test_what_an_export_says(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["results", str(store), "-o", str(tmp_path / "r.csv")]
    assert run(line) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'r.csv'}: 4 measurements\n"
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 5
    assert run([*line, "--artifact", "a*", "--samples"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'r.csv'}: 1 measurement\n"
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 4
    assert run([*line, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4


def test_what_scenarios_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.yaml").write_text("inputs: [480x270, median]\nmin_runs: 7\n")
    assert run(["scenarios", str(tmp_path / "own.yaml")]) == 0
    told = capsys.readouterr().out
    assert "inputs:\n- 480x270\n- median\n" in told
    assert "min_runs: 7" in told
    assert "null" not in told
    assert run(["scenarios", str(tmp_path / "own.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] == [[270, 480], "median"]
    assert run(["scenarios"]) == 0
    told = capsys.readouterr().out
    assert "scenario" in told.splitlines()[1]
    assert "ten minutes of 640x360" in told


def test_what_devices_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert run(["devices"]) == 0
    told = capsys.readouterr().out
    assert "adb is not usable here: adb is not on PATH" in " ".join(told.split())
    assert "local is not usable here" not in told
    rows = [line.split() for line in told.splitlines()]
    for kind, usable in (("local", "yes"), ("fake", "yes"), ("ssh", "no"), ("adb", "no")):
        assert any(f"{row[:1]}".startswith(f"['{kind}") and row[1] == usable for row in rows), kind


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (explain, ["explain"]),
        (masks, ["masks"]),
        (report, ["report"]),
        (results, ["scenarios", "devices", "results"]),
    ],
)
def test_commands_are_registered_by_their_module(module: Any, names: list[str]) -> None:
    app = typer.Typer()
    module.register(app)
    found = [one.name or one.callback.__name__ for one in app.registered_commands]
    assert found == names
