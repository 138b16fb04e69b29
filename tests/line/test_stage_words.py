"""Why a stage is made anew, in a few words; and what its card records."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from srdeploy.line.card import BEGUN, read_stage_card
from srdeploy.line.digest import digest_of
from srdeploy.line.stage import Stage, _told

PARENTS = {"10_y": "abc", "11_z": "def"}


def stage(how: dict[str, Any], inputs: Any = None, check: Any = lambda: None) -> Stage:
    def work(folder: Path) -> dict[str, Any]:
        assert (folder / BEGUN).exists()
        time.sleep(0.02)
        (folder / "a.txt").write_text("a")
        return {"found": 1}

    return Stage(
        "20_x", "what", how, ("a.txt", "never.txt"), work, inputs or {}, ("10_y", "11_z"), check
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (0.5, "0.5"), (1e-7, "1e-07"), (3, "3"), (True, "True"), ("x" * 40, "x" * 40),
     ("x" * 41, "x" * 37 + "..."), (0.123456789, "0.123457")],
)  # fmt: skip
def test_values_in_words(value: Any, text: str) -> None:
    assert _told(value) == text


def why(old: dict[str, Any], new: dict[str, Any], tmp_path: Path, **parents: str | None) -> str:
    stage(old).make(tmp_path, PARENTS, resume=False)
    state = stage(new).state(tmp_path / "20_x", PARENTS | parents)
    assert state.kind == "run"
    return state.why


@pytest.mark.parametrize(
    ("old", "new", "parents", "words"),
    [
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": 2}}}, {}, "a.b.c: 1 -> 2"),
        ({"a": 1}, {"b": 1}, {}, "a: 1 -> none, b: none -> 1"),
        ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2}, {}, "a: 1 -> 2, b: 1 -> 2, c: 1 -> 2"),
        ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2}, {"10_y": None},
         "a: 1 -> 2, b: 1 -> 2, c: 1 -> 2 and 1 more"),
        ({"a": 1}, {"a": 1}, {"10_y": None, "11_z": "new"}, "after 10_y, 11_z changed"),
    ],
)  # fmt: skip
def test_reasons(
    old: dict[str, Any], new: dict[str, Any], parents: dict[str, Any], words: str, tmp_path: Path
) -> None:
    assert why(old, new, tmp_path, **parents) == words


def test_inputs_that_came_or_went(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    one = stage({}, {"a": lambda: tmp_path / "a"})
    one.make(tmp_path, PARENTS, resume=False)
    two = stage({}, {"b": lambda: tmp_path / "b"})
    assert two.state(tmp_path / "20_x", PARENTS).why == "a changed, b changed"


def test_a_card_records_how_it_was_made(tmp_path: Path) -> None:
    card = stage({"a": 1}).make(tmp_path, PARENTS, resume=False)
    assert read_stage_card(tmp_path / "20_x") == card
    assert (card.stage, card.what, card.how, card.parents) == ("20_x", "what", {"a": 1}, PARENTS)
    assert list(card.outputs) == ["a.txt"]
    assert card.sha256 == digest_of(card.outputs)
    assert card.figures == {"found": 1}
    assert 0.02 <= card.seconds < 30
    assert round(card.seconds, 2) == card.seconds
    made = datetime.fromisoformat(card.made)
    assert made.utcoffset() == timedelta(0)
    assert abs(made - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert set(card.tools) >= {"torch", "onnx", "onnxruntime"}


def test_what_is_current_is_not_checked(tmp_path: Path) -> None:
    from srdeploy.errors import UserError

    def refuse() -> None:
        raise UserError("not here")

    stage({}).make(tmp_path, PARENTS, resume=False)
    assert stage({}, check=refuse).state(tmp_path / "20_x", PARENTS).kind == "current"
    state = stage({"a": 1}, check=refuse).state(tmp_path / "20_x", PARENTS)
    assert (state.kind, state.why) == ("blocked", "not here")
    # A parent that is to be made again leaves open whether this one must be.
    state = stage({}).state(tmp_path / "20_x", PARENTS | {"10_y": None})
    assert (state.kind, state.why) == ("run", "after 10_y")


def test_half_made_goes_on_only_under_the_same_settings_and_parents(tmp_path: Path) -> None:
    one = stage({})
    folder = tmp_path / "20_x"
    one.make(tmp_path, PARENTS, resume=False)
    card = read_stage_card(folder)
    assert card is not None
    (folder / "card.json").unlink()
    (folder / BEGUN).write_text(card.key)
    assert (one.state(folder, PARENTS).kind, one.state(folder, PARENTS).why) == (
        "resume", "stopped on the way",
    )  # fmt: skip
    assert one.state(folder, PARENTS | {"10_y": "other"}).kind == "run"
    assert one.state(folder, PARENTS | {"10_y": None}).kind == "run"
