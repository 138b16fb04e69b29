"""``srdeploy run``: what the options are for, and what is printed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.cli import run as line
from srdeploy.cli.main import run
from tests.cli.reach import STOP, Case, exit_code, hold

LINE = SimpleNamespace(name="demo", scenarios=[])
READ: dict[str, Any] = {
    "srdeploy.line.axes:find_line": "demo.yaml",
    "srdeploy.line.recipe:read_line": LINE,
}
RUN = {**READ, "srdeploy.line.run:run_line": STOP}
PLAN = {**READ, "srdeploy.line.run:plan_line": STOP}

CASES = [
    Case(
        "run demo",
        RUN,
        {
            "find_line.name": "demo",
            "read_line.path": "demo.yaml",
            "run_line.line": "SimpleNamespace",
            "run_line.root": "runs/demo",
            "run_line.again": "srdeploy run demo",
            "run_line.allow_code": False,
        },
        {
            "--set a=1 --set b=2": {
                "run_line.again": "srdeploy run demo --set a=1 --set b=2",
                "read_line.changes": ["a=1", "b=2"],
            },
            "--run-dir r": {
                "run_line.root": "r",
                "run_line.again": "srdeploy run demo --run-dir r",
            },
            "--allow-code": {
                "run_line.again": "srdeploy run demo --allow-code",
                "run_line.allow_code": True,
            },
        },
        ("--json", "--schema", "--dry-run"),
    ),
    Case(
        "run demo --dry-run",
        PLAN,
        {
            "find_line.name": "demo",
            "read_line.path": "demo.yaml",
            "plan_line.line": "SimpleNamespace",
            "plan_line.root": "runs/demo",
            "plan_line.allow_code": False,
        },
        {
            "--set a=1 --set b=2": {"read_line.changes": ["a=1", "b=2"]},
            "--run-dir r": {"plan_line.root": "r"},
            "--allow-code": {"plan_line.allow_code": True},
        },
        ("--json", "--schema"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


def stage(name: str, kind: str, why: str = "it is new") -> Any:
    card = SimpleNamespace(sha256="ab", outputs=["x"], seconds=1.5, figures={"psnr": 30.0})
    return SimpleNamespace(
        stage=SimpleNamespace(name=name, what=f"make {name}"),
        state=SimpleNamespace(kind=kind, why=why), card=card,
    )  # fmt: skip


PLANNED = [stage("10_a", "current", "unchanged"), stage("20_b", "resume", "half"),
           stage("30_c", "run"), stage("40_d", "run")]  # fmt: skip


def planned(*stages: Any) -> dict[str, Any]:
    return {**READ, "srdeploy.line.run:plan_line": list(stages),
            "srdeploy.line.run:left_over": ["25_old"]}  # fmt: skip


def test_what_a_dry_run_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("run demo --dry-run", planned(*PLANNED)) == 0
    told = capsys.readouterr().out
    rows = [" ".join(line.split()) for line in told.splitlines()]
    assert "10_a skip unchanged make 10_a" in rows
    assert "20_b resume half make 20_b" in rows
    assert "30_c run it is new make 30_c" in rows
    assert rows[-2:] == ["in runs/demo", "25_old is not in the recipe any more; it stays as it is"]
    assert exit_code("run demo --dry-run --json", planned(*PLANNED)) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["stages"][1] == {
        "stage": "20_b", "what": "make 20_b", "state": "resume", "why": "half",
    }  # fmt: skip
    assert (document["name"], document["folder"]) == ("demo", "runs/demo")
    assert document["left_over"] == ["25_old"]


@pytest.mark.parametrize("kind", ["blocked", "current", "resume", "run"])
def test_only_what_cannot_run_ends_a_dry_run_with_2(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ("", "--json"):
        code = exit_code(f"run demo --dry-run {words}", planned(stage("10_a", kind)))
        assert code == (2 if kind == "blocked" else 0)
    assert ("cannot run" in capsys.readouterr().out) == (kind == "blocked")


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on a line whose stages have all been made; returns what a stage is told."""
    (tmp_path / "r" / "70_bench").mkdir(parents=True)
    (tmp_path / "r" / "70_bench" / "rows.json").write_text('[{"p50_ms": 1.5}]')
    (tmp_path / "r" / "70_bench" / "table.txt").write_text("the table\n\n")
    monkeypatch.chdir(tmp_path)

    def run_line(line: Any, root: Path, *, on_stage: Any, **_: Any) -> Any:
        for one in PLANNED:
            on_stage(one.stage, one.state)
        return PLANNED

    monkeypatch.setattr("srdeploy.line.run.run_line", run_line)


@pytest.mark.usefixtures("finished")
def test_what_a_run_prints(capsys: pytest.CaptureFixture[str]) -> None:
    measured = {
        **READ,
        "srdeploy.line.recipe:read_line": SimpleNamespace(name="demo", scenarios=["quick"]),
    }
    assert exit_code("run demo --run-dir r", measured) == 0
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "10_a: make 10_a (unchanged)",
        "20_b: make 20_b (going on)",
        "30_c: make 30_c (it is new)",
        "40_d: make 40_d (it is new)",
    ]
    assert told.out.splitlines() == [
        "the table", "", "the report: r/80_report/report.html", "r: 3 of 4 stages made, 1 unchanged"
    ]  # fmt: skip
    assert exit_code("run demo --run-dir r --json", measured) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["folder"]) == ("demo", "r")
    assert document["rows"] == [{"p50_ms": 1.5}]
    assert document["stages"][0] == {
        "stage": "10_a", "state": "current", "why": "unchanged", "sha256": "ab", "outputs": ["x"],
        "seconds": 1.5, "figures": {"psnr": 30.0},
    }  # fmt: skip
    assert exit_code("run demo", READ) == 0
    assert capsys.readouterr().out == "runs/demo: 3 of 4 stages made, 1 unchanged\n"
    assert exit_code("run demo --json", READ) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == []


def test_what_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert run(["run", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        assert row["name"] in told
        assert " ".join(row["description"].split()[:3]) in told
    assert run(["run", "demo", "--schema"]) == 0
    assert "properties" in json.loads(capsys.readouterr().out)


def test_how_to_go_on_can_be_pasted() -> None:
    told = line._again("my line.yaml", ["a=b c", "d=e"], Path("r"), False)
    assert shlex.split(told) == ["srdeploy", "run", "my line.yaml", "--set", "a=b c", "--set",
                                 "d=e", "--run-dir", "r"]  # fmt: skip
