"""What makes a stage current, its outputs' hashes, and the hashes of what goes into it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from srdeploy.data.builtin import BENCHMARK_IMAGES, TRAINING_IMAGES
from srdeploy.errors import UserError
from srdeploy.line import digest
from srdeploy.line.card import StageCard, hashes, key_of, read_stage_card, write_stage_card
from srdeploy.line.digest import benchmark_folder, content, digest_of, training_folder
from srdeploy.util.files import sha256

CARD = StageCard(
    stage="10_x", what="w", how={"a": 1}, inputs={"i": "1"}, parents={"p": "2"}, key="k",
    outputs={"o": "3"}, sha256="s", seconds=1.5, made="now", tools={"torch": "2"},
)  # fmt: skip


def test_a_card_is_read_as_written(tmp_path: Path) -> None:
    write_stage_card(tmp_path, CARD)
    assert read_stage_card(tmp_path) == CARD
    text = (tmp_path / "card.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text)["format"] == 1


@pytest.mark.parametrize("text", [None, "", "{}", '{"format": 2}', "[]"])
def test_no_card_and_one_of_another_version_are_none(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "card.json").write_text(text)
    assert read_stage_card(tmp_path) is None


def test_everything_that_decides_is_in_the_key() -> None:
    plain = key_of("s", {"a": 1, "b": 2}, {"i": "1"}, {"p": "2"})
    assert key_of("s", {"b": 2, "a": 1}, {"i": "1"}, {"p": "2"}) == plain
    others = [
        key_of("t", {"a": 1, "b": 2}, {"i": "1"}, {"p": "2"}),
        key_of("s", {"a": 1, "b": 3}, {"i": "1"}, {"p": "2"}),
        key_of("s", {"a": 1, "b": 2}, {"i": "2"}, {"p": "2"}),
        key_of("s", {"a": 1, "b": 2}, {"i": "1"}, {"p": "3"}),
        key_of("s", {"a": 1, "b": 2}, {"p": "2"}, {"i": "1"}),
    ]
    assert len({plain, *others}) == 6
    assert len(plain) == 64


def test_hashes_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("x")
    assert hashes(tmp_path, ["a", "gone", "d"]) == {
        "a": sha256(tmp_path / "a"), "d": sha256(tmp_path / "d"),
    }  # fmt: skip


def test_folders_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", str(tmp_path))
    assert benchmark_folder("builtin") == BENCHMARK_IMAGES
    assert training_folder("builtin") == TRAINING_IMAGES
    for folder in (benchmark_folder, training_folder):
        assert folder("$SOMEWHERE/x") == tmp_path / "x"
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1}) != digest_of({"a": 2})


def test_a_folders_content_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "set"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "deep/b"):
        (folder / name).write_text(name)
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return sha256(path)

    monkeypatch.setattr(digest, "sha256", counted)
    first = content(folder)
    assert first == sha256(folder)
    assert content(folder) == first
    assert read == [folder]
    stat = (folder / "deep" / "b").stat()
    (folder / "deep" / "b").write_text("deep/c")
    os.utime(folder / "deep" / "b", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert content(folder) != first  # of the same size
    assert content(folder / "a") == sha256(folder / "a")
    assert read[-1] == folder / "a"
    with pytest.raises(UserError, match="There is no file or folder"):
        content(tmp_path / "gone")
    (tmp_path / "file").touch()
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "file"))
    assert content(folder) == sha256(folder)  # without a cache, too
