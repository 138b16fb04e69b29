"""Stages: skipped, resumed or made anew, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.line.card import BEGUN, CARD, read_stage_card
from srdeploy.line.stage import Stage


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("one")
    return path


def stage(source: Path, work: Callable[[Path], Any] | None = None, **how: Any) -> Stage:
    def usual(folder: Path) -> dict[str, Any]:
        (folder / "out.txt").write_text(source.read_text() + str(how))
        return {"made": True}

    return Stage(
        name="20_x",
        what="",
        how=how or {"a": {"b": 1}},
        outputs=("out.txt",),
        work=work or usual,
        inputs={"text": lambda: source},
        parents=("10_y",),
        keep=("kept.txt",),
    )


PARENTS = {"10_y": "abc"}


def test_a_stage_is_made_once(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "20_x"
    assert stage(source).state(folder, PARENTS).kind == "run"
    card = stage(source).make(tmp_path, PARENTS, resume=False)
    assert stage(source).state(folder, PARENTS).kind == "current"
    assert read_stage_card(folder) == card
    assert card.parents == PARENTS
    assert set(card.inputs) == {"text"}
    assert card.figures == {"made": True}
    assert not (folder / BEGUN).exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder, source: source.write_text("two"), "text changed"),
        (lambda folder, source: (folder / "out.txt").write_text("x"), "out.txt was changed"),
        (lambda folder, source: (folder / "out.txt").unlink(), "out.txt is gone"),
        (lambda folder, source: (folder / CARD).write_text("{}"), "not made yet"),
    ],
)
def test_what_makes_it_stale(source: Path, tmp_path: Path, change: Any, why: str) -> None:
    folder = tmp_path / "20_x"
    stage(source).make(tmp_path, PARENTS, resume=False)
    change(folder, source)
    state = stage(source).state(folder, PARENTS)
    assert (state.kind, state.why) == ("run", why)


def test_changed_settings_and_parents_are_named(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "20_x"
    stage(source).make(tmp_path, PARENTS, resume=False)
    assert (
        stage(source, a={"b": 2}, c=0.5).state(folder, PARENTS).why == "a.b: 1 -> 2, c: none -> 0.5"
    )
    assert stage(source).state(folder, {"10_y": "other"}).why == "10_y changed"
    assert stage(source).state(folder, {"10_y": None}).why == "after 10_y"


def test_an_interrupted_stage_goes_on_unless_its_settings_change(
    source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "20_x"

    def broken(folder: Path) -> dict[str, Any]:
        (folder / "half.txt").write_text("half")
        (folder / "kept.txt").write_text("kept")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(source, broken).make(tmp_path, PARENTS, resume=False)
    assert stage(source).state(folder, PARENTS).kind == "resume"
    assert stage(source, a=1).state(folder, PARENTS).kind == "run"
    stage(source).make(tmp_path, PARENTS, resume=True)
    assert (folder / "half.txt").exists()
    stage(source, a=1).make(tmp_path, PARENTS, resume=False)
    assert not (folder / "half.txt").exists()
    assert (folder / "kept.txt").read_text() == "kept"


def test_what_is_missing_blocks(source: Path, tmp_path: Path) -> None:
    source.unlink()
    state = stage(source).state(tmp_path / "20_x", PARENTS)
    assert state.kind == "blocked"
    assert "in.txt" in state.why
    with pytest.raises(UserError, match=r"in\.txt"):
        stage(source).make(tmp_path, PARENTS, resume=False)
    assert not (tmp_path / "20_x").exists()


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_that_leads_out_of_the_run_is_not_cleared(
    source: Path, tmp_path: Path, linked: bool
) -> None:
    victim, root = tmp_path / "victim", tmp_path / "run"
    (victim / "deep").mkdir(parents=True)
    (victim / "deep" / "work").write_text("years")
    root.mkdir()
    name = "../victim"
    if linked:
        name = "20_x"
        (root / name).symlink_to(victim)
    with pytest.raises(UserError, match=f"does not lie in '{root}'"):
        replace(stage(source), name=name).make(root, PARENTS, resume=False)
    assert (victim / "deep" / "work").read_text() == "years"


def test_links_in_a_folder_are_removed_and_not_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "work").write_text("years")
    root = tmp_path / "run"
    (root / "20_x" / "deep").mkdir(parents=True)
    for link in (root / "20_x" / "link", root / "20_x" / "deep" / "link"):
        link.symlink_to(tmp_path / "precious")
    stage(source).make(root, PARENTS, resume=False)
    assert (tmp_path / "precious" / "work").read_text() == "years"
    assert not (root / "20_x" / "link").exists()
