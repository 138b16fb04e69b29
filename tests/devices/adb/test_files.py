"""Copies to and from a phone: every step may fail, and nothing half-written stays."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.adb.files import AdbFiles
from srdeploy.devices.answers import Implausible
from srdeploy.devices.errors import DeviceError, DeviceFull
from srdeploy.devices.shell.capture import Ended
from tests.devices.shell.local_link import LocalLink


class Phone(LocalLink):
    """A phone that is a folder here.

    Attributes:
        limits: How long each script may take.
        transfers: Every push and pull: its words, what it is, and megabytes.
        fails: Words that begin the scripts or transfers which fail, and what they say.
        cut: Bytes of a transfer that arrive; None for all, more than all to add some.
    """

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[Any] = []
        self.transfers: list[tuple[Any, ...]] = []
        self.fails: tuple[str, bytes] = ("nothing", b"")
        self.cut: int | None = None

    def script(self, text: str, **more: Any) -> Ended:
        self.limits.append((more.get("timeout"), more["what"]))
        if text.startswith(self.fails[0]):
            return Ended([], 1, b"", self.fails[1])
        return super().script(text, **more)

    def transfer(self, *words: str, what: str, megabytes: float) -> Ended:
        self.transfers.append((words[0], what, megabytes))
        if words[0] == self.fails[0]:
            return Ended([], 1, self.fails[1], b"")
        shutil.copy(words[1], words[2])
        if self.cut is not None:
            content = Path(words[2]).read_bytes()
            Path(words[2]).write_bytes((content + b"xxxx")[: self.cut])
        return Ended([], 0, b"", b"")


@pytest.fixture
def phone() -> Phone:
    return Phone()


@pytest.fixture
def files(phone: Phone, tmp_path: Path) -> AdbFiles:
    return AdbFiles(phone, str(tmp_path / "there"))  # type: ignore[arg-type]


def left(files: AdbFiles) -> list[str]:
    return [path.name for path in Path(files.folder).rglob("*") if path.is_file()]


def test_a_file_is_written_and_read(files: AdbFiles, phone: Phone) -> None:
    path = f"{files.folder}/a/it's"
    files.write(path, b"x" * 2500)
    assert Path(path).read_bytes() == b"x" * 2500
    assert left(files) == ["it's"]
    assert phone.limits == [(60, f"copying to {path}")] * 2
    assert phone.transfers == [("push", f"copying to {path}", 0.0025)]
    assert files.read(path) == b"x" * 2500
    assert phone.limits[2:] == [(60, f"reading {path}")]
    assert phone.transfers[1:] == [("pull", f"copying {path}", 0.0025)]
    assert files.read(path, most=2500) == b"x" * 2500
    with pytest.raises(DeviceError, match=r"it's' on 'board' is larger than 0\.0 MB"):
        files.read(path, most=2499)
    assert len(phone.transfers) == 3  # nothing was brought here


@pytest.mark.parametrize(
    ("fails", "said", "kind", "sentence"),
    [
        ("mkdir", b"mkdir: denied", DeviceError, r"'{path}' was not written \(mkdir: denied\)"),
        ("push", b"adb: No space left on device", DeviceFull, "No space is left on 'board'"),
        ("[ ", b"mv: odd", DeviceError, r"was not written \(mv: odd\)"),
    ],
)
def test_copies_that_fail(
    files: AdbFiles, phone: Phone, fails: str, said: bytes, kind: type, sentence: str
) -> None:
    path = f"{files.folder}/a"
    phone.fails = (fails, said)
    with pytest.raises(kind, match=sentence.format(path=path)) as caught:
        files.write(path, b"x" * 10)
    assert type(caught.value) is kind
    assert left(files) == []
    assert len(phone.transfers) == (fails != "mkdir")
    assert all(limit == 60 for limit, _ in phone.limits)


def test_a_copy_that_is_cut_short(files: AdbFiles, phone: Phone) -> None:
    phone.cut = 9
    with pytest.raises(DeviceError, match=r"was not written \(it gave no reason\)"):
        files.write(f"{files.folder}/a", b"x" * 10)
    assert left(files) == []


def test_files_that_do_not_come_back(files: AdbFiles, phone: Phone) -> None:
    path = f"{files.folder}/a"
    with pytest.raises(DeviceError, match="There is no file"):
        files.read(path)
    files.write(path, b"x" * 10)
    phone.fails = ("pull", b"")
    with pytest.raises(DeviceError, match=f"There is no file '{path}' on 'board'"):
        files.read(path)
    phone.fails, phone.cut = ("nothing", b""), 12
    assert len(files.read(path, most=12)) == 12  # it has grown meanwhile
    with pytest.raises(DeviceError, match="is larger than"):
        files.read(path, most=11)


def test_a_phone_that_tells_no_size(files: AdbFiles, phone: Phone) -> None:
    phone.script = lambda text, **more: Ended([], 0, b"many\n", b"")  # type: ignore[method-assign]
    with pytest.raises(Implausible, match="'board' answered what cannot be read"):
        files.read("/a")
