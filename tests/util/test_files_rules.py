"""Files: names on the way, what is removed, whose key it is, and what a full disk is."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.util import files
from srdeploy.util.files import (
    atomic_path,
    cache_dir,
    check_output,
    discard,
    is_full,
    locked,
    require_file,
    require_inside,
    require_private,
    sha256,
    space_for,
    staged_files,
)


def test_the_name_on_the_way(tmp_path: Path) -> None:
    name = "a-name-that-is-rather-long" * 8 + ".onnx"
    with atomic_path(tmp_path / name) as temporary:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        writer = f"{os.getpid()}-{threading.get_native_id()}"
        assert temporary == tmp_path / f".{digest}.{writer}.tmp.onnx"
        temporary.write_text("x")
    for suffix, kept in (("." + "e" * 14, True), ("." + "e" * 15, False)):
        with atomic_path(tmp_path / f"a{suffix}") as temporary:
            assert temporary.name.endswith(".tmp" + suffix * kept)
            temporary.write_text("x")


def test_threads_that_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    def write(text: str) -> None:
        for _ in range(50):
            with atomic_path(tmp_path / "a") as temporary:
                temporary.write_text(text)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(write, text * 10_000) for text in "xyz"]:
            done.result()
    assert set((tmp_path / "a").read_text()) in ({"x"}, {"y"}, {"z"})
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_result_is_the_user_s_choice(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.touch(mode=0o600)
        assert (tmp_path / "a").stat().st_mode & 0o777 == mode
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_files_made_together_arrive_with_their_description_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[str] = []
    real = files.settle
    monkeypatch.setattr(files, "settle", lambda made, to: (settled.append(to.name), real(made, to)))
    with staged_files(tmp_path / "new" / "net.bin") as path:
        assert path.name == "net.bin"
        assert path.parent.parent == tmp_path / "new"
        for name in ("net.json", "net.bin", "net.zzz"):
            path.with_name(name).write_text(name)
        assert not (tmp_path / "new" / "net.bin").exists()
    assert settled[-1] == "net.json"
    assert sorted(os.listdir(tmp_path / "new")) == ["net.bin", "net.json", "net.zzz"]
    with pytest.raises(ZeroDivisionError), staged_files(tmp_path / "other") as path:
        path.touch()
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["new"]


def test_what_is_removed_and_what_is_not(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "file").touch()
    discard(root / "a" / "file", root)
    discard(root / "none", root)
    discard(root / "a", root)
    assert os.listdir(root) == []
    (tmp_path / "beside").touch()
    told = r"does not lie in '.*root', so it is not removed; move it there"
    for wrong in (root, root / "..", tmp_path / "beside", root / ".." / "beside"):
        with pytest.raises(UserError, match=told):
            discard(wrong, root)
    assert (tmp_path / "beside").exists()


FULL = OSError(errno.ENOSPC, "x")


def chained(cause: BaseException | None = None, context: BaseException | None = None) -> Exception:
    error = RuntimeError("writing failed")
    error.__cause__, error.__context__ = cause, context
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True), (OSError(errno.EDQUOT, "x"), True), (OSError(errno.EFBIG, "x"), True),
        (OSError(errno.EIO, "x"), False), (RuntimeError("No Space Left on device"), True),
        (RuntimeError("database or disk is full"), True), (chained(cause=FULL), True),
        (chained(context=FULL), True), (chained(cause=chained(context=FULL)), True),
        (chained(cause=ValueError("x")), False), (RuntimeError("x"), False),
    ],
)  # fmt: skip
def test_what_a_full_disk_is(error: Exception, full: bool, tmp_path: Path) -> None:
    assert is_full(error, tmp_path) is full


@pytest.mark.parametrize(
    ("free", "error", "full"),
    [(16383, RuntimeError("x"), True), (16384, RuntimeError("x"), False),
     (0, UserError("x"), False), (0, MemoryError(), False), (0, UserError("disk is full"), True)],
)  # fmt: skip
def test_with_nothing_free_whatever_fails_fails_for_that(
    free: int, error: Exception, full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        pass

    Usage.free = free  # type: ignore[attr-defined]
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: Usage)
    assert is_full(error, tmp_path) is full


def test_a_full_disk_is_told_with_what_to_do(tmp_path: Path) -> None:
    told = "There is no space left on the disk of '.*/a'; free some and run again."
    with pytest.raises(SrdeployError, match=told) as raised, space_for(tmp_path / "a"):
        raise FULL
    assert raised.value.exit_code == 1
    with pytest.raises(SrdeployError, match="and go on"), space_for(tmp_path / "a", "go on"):
        raise FULL
    with pytest.raises(ValueError, match="else"), space_for(tmp_path / "a"):
        raise ValueError("else")


def test_locks_wait_for_each_other_and_guard_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "new" / "lock"):
        assert (tmp_path / "new" / "lock").exists()
        import fcntl

        with open(tmp_path / "new" / "lock", "ab") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with open(tmp_path / "new" / "lock", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (tmp_path / "file").touch()
    with locked(tmp_path / "file" / "lock"):
        pass


def test_files_that_can_be_read_to_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(7))
    assert require_file(tmp_path / "a").st_size == 7
    (tmp_path / "link").symlink_to("none")
    os.mkfifo(tmp_path / "pipe")
    for name, told in (
        ("none", "There is no picture '"), ("a/b", "There is no picture '"),
        ("link", "is a link to nothing; mend or remove it"), ("", "it is a folder; name a file"),
        ("pipe", "it is a pipe or a device; name a file"), ("n" * 300, "File name too long"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=told):
            require_file(tmp_path / name, "picture")
    with pytest.raises(UserError, match="There is no file"):
        require_file(tmp_path / "none")


def test_files_that_others_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(bytes(5))
    (tmp_path / "out").touch()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    assert require_inside(tmp_path / "in" / "a", tmp_path / "in") == 5
    for name in ("in/link", "out", "in/../out"):
        with pytest.raises(UserError, match=r"lies outside of '.*in'; copy it there, without"):
            require_inside(tmp_path / name, tmp_path / "in")


@pytest.mark.parametrize(
    ("mode", "private"),
    [(0o600, True), (0o400, True), (0o700, True), (0o640, False), (0o604, False), (0o601, False),
     (0o610, False)],
)  # fmt: skip
def test_keys_are_their_owner_s(mode: int, private: bool, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    key.chmod(mode)
    if private:
        require_private(key)
        return
    told = rf"the private key '{key}' \(mode {mode:03o}\); keep it to yourself \(`chmod 600"
    with pytest.raises(UserError, match=told):
        require_private(key)
    require_private(tmp_path / "none")


def test_windows_has_no_such_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key"
    key.touch()
    key.chmod(0o644)
    monkeypatch.setattr(files.os, "name", "nt")
    require_private(str(key))


def test_content_by_its_hash(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000  # more than is read at once
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "b").write_bytes(content)
    (tmp_path / "d" / "a").write_bytes(b"x")
    assert sha256(tmp_path / "d" / "b") == hashlib.sha256(content).hexdigest()
    assert sha256(tmp_path / "d") == hashlib.sha256(b"ax" + b"b" + content).hexdigest()
    with pytest.raises(UserError, match="There is no file"):
        sha256(tmp_path / "none")


def test_places_for_results(tmp_path: Path) -> None:
    check_output(tmp_path / "new" / "a")
    assert (tmp_path / "new").is_dir()
    with pytest.raises(UserError, match=r"new' is a folder; choose a file name"):
        check_output(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a part of that path is a file; choose another output"):
        check_output(tmp_path / "file" / "a")
    with pytest.raises(UserError, match=r"\(File name too long\); choose another output path"):
        check_output(tmp_path / ("n" * 300))


def test_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SRDEPLOY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_dir() == Path.home() / ".cache" / "srdeploy"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_dir() == Path("/x/srdeploy")
    monkeypatch.setenv("SRDEPLOY_CACHE", "/own")
    assert cache_dir() == Path("/own")
