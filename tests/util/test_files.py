"""Whole files or none."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.util.files import (
    atomic_path,
    cache_dir,
    check_output,
    discard,
    require_suffix,
    sha256,
    space_for,
)


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


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is forced to the disk and renamed, in order."""
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        order.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        order.append(f"name {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return order


linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux for names")


@linux
def test_a_folder_that_takes_no_files_is_told_before_the_work() -> None:
    with pytest.raises(UserError, match=r"Cannot write '/proc/net.onnx' \(.+\); choose another"):
        check_output("/proc/net.onnx")


@linux
def test_a_power_cut_finds_the_whole_file_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = synced(monkeypatch)
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert order == [f"sync {temporary.name}", "name a.txt", f"sync {tmp_path.name}"]


@linux
def test_a_power_cut_finds_the_whole_folder_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mlpackage").mkdir()
    (tmp_path / "a.mlpackage" / "old").write_text("old")
    order = synced(monkeypatch)
    with atomic_path(tmp_path / "a.mlpackage") as temporary:
        (temporary / "Data").mkdir(parents=True)
        (temporary / "Manifest").write_text("{}")
        (temporary / "Data" / "weights").write_text("1")
    named = order.index("name a.mlpackage")
    assert sorted(order[:named]) == sorted(
        f"sync {name}" for name in (temporary.name, "Data", "Manifest", "weights")
    )
    assert order.index("sync weights") < order.index("sync Data") < named
    assert order[named + 1 :] == [f"sync {tmp_path.name}"]
    assert os.listdir(tmp_path) == ["a.mlpackage"]
    assert sorted(os.listdir(tmp_path / "a.mlpackage")) == ["Data", "Manifest"]


def test_an_old_folder_stays_where_the_new_one_cannot_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.mlpackage").mkdir()
    (tmp_path / "a.mlpackage" / "old").write_text("old")

    def fails(source: Path, target: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="broken"), atomic_path(tmp_path / "a.mlpackage") as temporary:
        temporary.mkdir()
    assert os.listdir(tmp_path) == ["a.mlpackage"]
    assert os.listdir(tmp_path / "a.mlpackage") == ["old"]


def test_a_file_system_without_syncing_is_one_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("inner", ["../victim", "link/victim", "sub/../../victim", "..", "."])
def test_what_lies_elsewhere_is_not_removed(tmp_path: Path, inner: str) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    (root / "sub").mkdir(parents=True)
    victim.mkdir()
    (victim / "work").write_text("years")
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(UserError, match="does not lie in"):
        discard(root / inner, root)
    assert (victim / "work").read_text() == "years"
    assert (root / "sub").is_dir()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "victim"
    root.mkdir()
    victim.mkdir()
    (victim / "work").write_text("years")
    (root / "link").symlink_to(victim)
    discard(root / "link", root)
    discard(root / "none", root)
    assert os.listdir(root) == []
    assert (victim / "work").read_text() == "years"


def test_a_run_below_a_link_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "disk" / "run" / "20_x" / "deep").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    discard(tmp_path / "runs" / "run" / "20_x", tmp_path / "runs" / "run")
    assert os.listdir(tmp_path / "disk" / "run") == []


def test_several_remove_one_folder(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / "x" / str(number % 7)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / str(number % 7) / str(number)).write_text("")
    failures: list[BaseException] = []

    def remove() -> None:
        try:
            discard(tmp_path / "x", tmp_path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not (tmp_path / "x").exists()


def test_folders_are_removed_in_one_place_only() -> None:
    package = Path(__file__).parents[2] / "srdeploy"
    found = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if re.search(r"\brmtree\b|\bremovedirs\b", path.read_text(encoding="utf-8"))
    ]
    # The agent runs on a Mac without srdeploy, in a folder of its own.
    assert sorted(found) == ["devices/apple/agent.py", "util/files.py"]


def _safetensors(path: Path) -> None:
    from srdeploy.models.load import load_network
    from srdeploy.models.store import save_network

    save_network(load_network("edsr-s-x2"), path)


def _picture(path: Path) -> None:
    from srdeploy.data.picture import Picture
    from srdeploy.data.picture_write import write_picture

    pixels = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    write_picture(path, Picture(pixels))


def _torch(path: Path) -> None:
    import torch

    with atomic_path(path) as temporary:
        torch.save(torch.zeros(100_000), temporary)


def _onnx(path: Path) -> None:
    from srdeploy.exporting.onnx.export import export_onnx
    from srdeploy.models.load import load_network

    export_onnx(load_network("edsr-s-x2"), path, check=False)


def _text(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("x" * 100_000)


def _folder(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.mkdir()
        for number in range(3):
            np.save(temporary / f"{number}.npy", np.zeros(5000))


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (_text, "a.json"),
        (_safetensors, "a.safetensors"),
        (_onnx, "a.onnx"),
        (_torch, "a.pt"),
        (_folder, "a.mlpackage"),
        *((_picture, f"a.{ending}") for ending in ("png", "jpg", "webp", "tiff")),
    ],
)
def test_a_full_disk_is_one_sentence(
    tiny_disk: Path, write: Callable[[Path], Any], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SrdeployError) as refusal:
        write(tiny_disk / name)
    assert str(refusal.value) == (
        f"There is no space left on the disk of '{tiny_disk / name}'; free some and run again."
    )
    assert os.listdir(tiny_disk) == []
    assert capfd.readouterr().err == ""  # of libraries


full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")


@full
def test_a_journal_on_a_full_disk_is_one_sentence() -> None:
    from srdeploy.benchmarking.measuring.journal import open_journal

    with (
        pytest.raises(SrdeployError, match="no space left on the disk of '/dev/full'; free some"),
        open_journal(Path("/dev/full")) as journal,
    ):
        journal.write("row")


def test_other_failures_are_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="something else"), space_for(tmp_path / "a"):
        raise ValueError("something else")
    with pytest.raises(PermissionError), space_for(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_a_temporary_name_is_as_short_as_the_disk_wants(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".txt")
    with atomic_path(path) as temporary:
        assert temporary.suffix == ".txt"  # by which libraries choose a format
        temporary.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("name", ["n" * 300 + ".png", "folder" * 60 + "/a.png"])
def test_a_name_too_long_for_the_disk_is_one_sentence(name: str, tmp_path: Path) -> None:
    for write in (check_output, lambda path: atomic_path(path).__enter__()):
        with pytest.raises(UserError, match=r"File name too long\); choose another output path"):
            write(tmp_path / name)


def test_no_pipe_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "gone").symlink_to("nowhere")
    for name, words in (("pipe", "a pipe or a device"), ("zero", "a pipe or a device"),
                        ("gone", "a link to nothing"), ("none", "There is no file")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            sha256(tmp_path / name)


@pytest.mark.parametrize(("name", "fits"), [("a.svg", True), ("a.SVG", True), ("a.png", False),
                                            ("a", False)])  # fmt: skip
def test_an_ending_says_what_a_file_will_be(name: str, fits: bool) -> None:
    if fits:
        require_suffix(name, (".svg", ".svgz"), "a chart")
        return
    with pytest.raises(UserError, match=rf"'{name}' will be a chart, .* end in \.svg or \.svgz\.$"):
        require_suffix(name, (".svg", ".svgz"), "a chart")
