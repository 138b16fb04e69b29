"""Files on a board, by content and whole."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from srdeploy.devices.errors import DeviceError, DeviceFull
from srdeploy.devices.shell.files import (
    MOST_FILE,
    ShellFiles,
    _plain,
    keep_if_whole,
    make_parent,
    part_of,
)
from srdeploy.devices.ssh.files import SshFiles
from srdeploy.errors import UserError
from tests.devices.shell.local_link import LocalLink

CONTENT = bytes(range(256))
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def link() -> LocalLink:
    return LocalLink()


@pytest.fixture
def files(link: LocalLink, tmp_path: Path) -> SshFiles:
    return SshFiles(link, str(tmp_path / "there"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(CONTENT)
    return path


def test_a_file_travels_once(files: SshFiles, link: LocalLink, source: Path) -> None:
    path = files.push(source)
    assert path == f"{files.folder}/files/{DIGEST}.onnx"
    assert Path(path).read_bytes() == CONTENT
    assert len(link.said) == 3  # is it there, the copy, is it whole
    assert files.push(source) == path
    assert len(link.said) == 4
    Path(path).write_bytes(CONTENT[::-1])
    files.push(source)
    assert Path(path).read_bytes() == CONTENT


def test_one_that_arrives_damaged_is_removed(files: SshFiles, source: Path) -> None:
    def damage(source: Path, path: str) -> None:
        SshFiles.write(files, path, CONTENT[::-1])

    files.copy = damage  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match=r"net\.onnx' did not arrive whole on 'board'; is its"):
        files.push(source)
    assert list(Path(files.folder, "files").iterdir()) == []


def test_there_must_be_a_file(files: SshFiles, tmp_path: Path) -> None:
    for path in (tmp_path / "never", tmp_path):
        with pytest.raises(UserError, match=f"There is no file '{path}'"):
            files.push(path)


@pytest.mark.parametrize("programs", [None, "/nowhere"])
def test_digests_are_computed_there_if_a_tool_is(programs: str | None, source: Path) -> None:
    link = LocalLink(programs)
    files = SshFiles(link, "/tmp")
    if programs is not None:
        files.read = lambda path, most=MOST_FILE: Path(path).read_bytes()  # type: ignore
    assert files.digest(str(source)) == DIGEST
    assert files.digest(f"{source}.gone") is None


def test_files_come_back_and_go(files: SshFiles, source: Path, tmp_path: Path) -> None:
    path = files.push(source)
    files.pull(path, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == CONTENT
    assert files.exists(path)
    files.remove(path)
    assert not files.exists(path)
    assert not files.exists(files.folder)  # a folder is no file
    with pytest.raises(DeviceError, match=f"There is no file '{path}' on 'board'"):
        files.pull(path, tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_what_could_not_be_written(files: SshFiles) -> None:
    for said in ("cp: No space left on device\n", "dd: Disk quota exceeded"):
        error = files.failure(said, "'x' was not written")
        assert isinstance(error, DeviceFull)
        assert str(error) == (
            f"No space is left on 'board' in '{files.folder}': 'x' was not written; free some, or "
            "name another folder with ?dir=PATH."
        )
    error = files.failure("mkdir: a\nsh: denied\n", "'x' was not written")
    assert str(error) == "On 'board': 'x' was not written (sh: denied)."
    assert not isinstance(error, DeviceFull)
    assert "(it gave no reason)" in str(files.failure(" \n", "x"))


def test_how_much_is_too_much(files: SshFiles) -> None:
    assert str(files.too_large("/a", 2_500_000)) == "'/a' on 'board' is larger than 2.5 MB."
    assert str(files.too_large("/a", MOST_FILE)) == "'/a' on 'board' is larger than 4295.0 MB."


def test_a_folder_is_no_option(link: LocalLink) -> None:
    with pytest.raises(UserError, match="'-rf' is no folder"):
        SshFiles(link, "-rf")
    assert SshFiles(link, "a-b").folder == "a-b"


def sh(text: str) -> int:
    return subprocess.run(["sh", "-c", text]).returncode


def test_a_whole_file_gets_its_name(tmp_path: Path) -> None:
    path = str(tmp_path / "it's")
    part = part_of(path)
    assert part.startswith(f"{path}.")
    assert part.endswith(".part")
    assert part_of(path) != part
    Path(part).write_bytes(b"12345")
    assert sh(keep_if_whole(part, path, 6)) != 0
    assert list(tmp_path.iterdir()) == []
    Path(part).write_bytes(b"12345")
    assert sh(keep_if_whole(part, path, 5)) == 0
    assert list(tmp_path.iterdir()) == [Path(path)]


def test_what_was_never_finished_goes_after_two_days(tmp_path: Path) -> None:
    folder = tmp_path / "it's" / "files"
    assert sh(make_parent(f"{folder}/x")) == 0
    names = ("old.part", "new.part", "old.bin")
    for name in names:
        (folder / name).touch()
        if name.startswith("old"):
            os.utime(folder / name, (time.time() - 3 * 86400,) * 2)
    assert sh(make_parent(f"{folder}/x")) == 0
    assert {path.name for path in folder.iterdir()} == {"new.part", "old.bin"}


@pytest.mark.parametrize(
    ("suffix", "kept"), [(".onnx", ".onnx"), (".a,b", ""), ("", ""), (".", ""), (".a b", "")]
)
def test_suffixes(suffix: str, kept: str) -> None:
    assert _plain(suffix) == kept


@pytest.mark.parametrize("name", ["copy", "write", "read"])
def test_files_must_bring_everything(name: str, link: LocalLink) -> None:
    kept = {one: vars(SshFiles)[one] for one in ShellFiles.__abstractmethods__ if one != name}
    with pytest.raises(TypeError, match=f"abstract method '?{name}'?"):
        type("Half", (ShellFiles,), kept)(link, "/x")
