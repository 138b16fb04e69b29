"""Running a line: who is told what, what stops it, and what another run finds."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from srdeploy.errors import SrdeployError, UserError
from srdeploy.line import run as module
from srdeploy.line.recipe import Line, read_line
from srdeploy.line.run import LineStopped, as_yaml, left_over, plan_line, run_line
from srdeploy.line.stage import Stage
from srdeploy.train.interrupt import TrainingStopped


class Lines:
    """Stages of the test's own under any recipe."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(json.dumps({"model": "edsr-s-x2", "scenarios": []}))
        self.line: Line = read_line(path)
        self.root = tmp_path / "run"
        self.works: dict[str, Callable[[Path], Any]] = {}
        self.check: Callable[[], None] = lambda: None
        self.made: list[str] = []
        monkeypatch.setattr(module, "stages_of", lambda line, root, allow_code=False: self.stages())

    def stages(self) -> list[Stage]:
        return [self.stage("10_a"), self.stage("20_b", "10_a"), self.stage("30_c", "10_a", "20_b")]

    def stage(self, name: str, *parents: str) -> Stage:
        def work(folder: Path) -> dict[str, Any]:
            self.made.append(name)
            if name in self.works:
                self.works[name](folder)
            (folder / "out").write_text(name)
            return {}

        check = self.check if name == "30_c" else lambda: None
        return Stage(name, "", {}, ("out",), work, {}, parents, check)

    def run(self, **options: Any) -> list[Any]:
        self.made.clear()
        return run_line(self.line, self.root, again="srdeploy run mine", **options)


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lines:
    return Lines(tmp_path, monkeypatch)


def fails(error: BaseException) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        raise error

    return work


def test_each_stage_is_told_before_and_after(lines: Lines) -> None:
    told: list[str] = []
    done = lines.run(
        on_stage=lambda stage, state: told.append(f"{stage.name} {state.kind}"),
        on_done=lambda one: told.append(f"{one.stage.name} {one.state.kind} {one.card.stage}"),
    )
    assert told == [
        "10_a run", "10_a run 10_a", "20_b run", "20_b run 20_b", "30_c run", "30_c run 30_c",
    ]  # fmt: skip
    assert [one.stage.name for one in done] == lines.made == ["10_a", "20_b", "30_c"]
    assert done[2].card.parents == {"10_a": done[0].card.sha256, "20_b": done[1].card.sha256}
    assert [one.state.kind for one in lines.run()] == ["current"] * 3
    assert lines.made == []
    assert yaml.safe_load((lines.root / "line.yaml").read_text()) == yaml.safe_load(
        as_yaml(lines.line)
    )


def test_a_plan_knows_what_follows_from_a_change(lines: Lines) -> None:
    def kinds() -> list[tuple[str, str]]:
        return [(one.state.kind, one.state.why) for one in plan_line(lines.line, lines.root)]

    assert kinds() == [("run", "not made yet")] * 3
    assert not lines.root.exists()
    lines.run()
    assert kinds() == [("current", "nothing changed")] * 3
    (lines.root / "20_b" / "out").write_text("changed")
    assert kinds() == [
        ("current", "nothing changed"), ("run", "out was changed"), ("run", "after 20_b"),
    ]  # fmt: skip
    lines.run()
    assert lines.made == ["20_b"]  # it came out as it was, so nothing after it changed


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), TrainingStopped("stopped")])
def test_an_interruption_tells_how_to_go_on(lines: Lines, stop: BaseException) -> None:
    lines.works["20_b"] = fails(stop)
    with pytest.raises(LineStopped) as caught:
        lines.run()
    assert str(caught.value) == (
        "Stopped in 20_b; what is finished is kept: `srdeploy run mine` goes on from there."
    )
    assert caught.value.exit_code == 130
    (lines.root / "20_b" / "half").write_text("half")
    lines.works.clear()
    states = [one.state.kind for one in lines.run()]
    assert states == ["current", "resume", "run"]
    assert (lines.root / "20_b" / "half").exists()
    assert lines.made == ["20_b", "30_c"]


@pytest.mark.parametrize("kind", [UserError, SrdeployError])
def test_a_failure_names_its_stage_and_stays_of_its_kind(lines: Lines, kind: Any) -> None:
    lines.works["20_b"] = fails(kind("It fell."))
    with pytest.raises(kind) as caught:
        lines.run()
    assert type(caught.value) is kind
    assert str(caught.value) == "20_b: It fell."
    assert lines.made == ["10_a", "20_b"]


def test_what_is_blocked_is_told_before_anything_begins(lines: Lines) -> None:
    def refuse() -> None:
        raise UserError("not here")

    lines.check = refuse
    with pytest.raises(UserError, match=r"^30_c: not here$"):
        lines.run()
    assert lines.made == []
    assert not lines.root.exists()


def test_folders_that_are_left_over(lines: Lines) -> None:
    assert left_over([], lines.root) == []
    lines.run()
    for name in ("40_old", "05_old", "50_empty", "notes", "x0_odd"):
        (lines.root / name).mkdir()
        if name != "50_empty":
            (lines.root / name / "card.json").touch()
    assert left_over(lines.stages(), lines.root) == ["05_old", "40_old"]


def test_the_folder_is_held_while_it_runs_and_not_after(lines: Lines) -> None:
    fcntl = pytest.importorskip("fcntl")
    tried: list[str] = []

    def held(folder: Path) -> None:
        assert (lines.root / ".lock").read_text() == str(os.getpid())
        with open(lines.root / ".lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                tried.append("free")
            except OSError:
                tried.append("held")
        with pytest.raises(UserError, match=r"Another process is running in '.*run'; wait for it"):
            run_line(lines.line, lines.root, again="")

    lines.works["10_a"] = held
    lines.run()
    assert tried == ["held"]
    assert [one.state.kind for one in lines.run()] == ["current"] * 3


def test_a_file_in_the_folders_place(lines: Lines) -> None:
    lines.root.touch()
    with pytest.raises(UserError, match=r"The run folder '.*run' is a file; choose another"):
        lines.run()
    lines.root = lines.root / "deeper"
    with pytest.raises(UserError, match="is a file; choose another"):
        lines.run()


def test_a_recipe_as_text_keeps_its_order_and_letters(lines: Lines) -> None:
    named = lines.line.model_copy(update={"description": "größer"})
    text = as_yaml(named.model_validate(named.model_dump(exclude_unset=True) | {
        "description": "größer"}))  # fmt: skip
    assert "größer" in text
    assert text.index("name:") < text.index("description:") < text.index("model:")
