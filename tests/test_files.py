"""Whole files or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.files import atomic_path, cache_dir, check_output, sha256


def test_success_renames(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "deep" / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "deep" / "a.txt").exists()
    assert (tmp_path / "deep" / "a.txt").read_text() == "whole"
    assert os.listdir(tmp_path / "deep") == ["a.txt"]


def test_failure_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    for content in ("one", "two"):
        with atomic_path(tmp_path / "a.mlpackage") as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
    assert os.listdir(tmp_path / "a.mlpackage") == ["two"]


def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "work").write_text("years")
    with (
        pytest.raises(UserError, match="is a folder"),
        atomic_path(tmp_path / "precious") as temporary,
    ):
        temporary.write_text("x")
    assert (tmp_path / "precious" / "work").read_text() == "years"
    assert os.listdir(tmp_path) == ["precious"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="is a file"),
        atomic_path(tmp_path / "file" / "sub" / "out.txt"),
    ):
        pass


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(UserError, match="permission denied"), atomic_path(tmp_path / "out.txt"):
        pass


def test_sha256_of_a_folder_depends_on_names_and_contents(tmp_path: Path) -> None:
    hashes = set()
    for name, content in (("a", "1"), ("b", "1"), ("a", "2")):
        folder = tmp_path / f"{name}{content}"
        folder.mkdir()
        (folder / name).write_text(content)
        hashes.add(sha256(folder))
    assert len(hashes) == 3


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRDEPLOY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_dir() == Path("/somewhere/srdeploy")


def test_output_is_checked_before_the_work(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "out.safetensors")
    with pytest.raises(UserError, match="is a folder"):
        check_output(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        check_output(tmp_path / "file" / "out.safetensors")
