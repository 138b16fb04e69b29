"""Commands on a board, their limits, and what became of them."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.errors import DeviceError, DeviceLost
from srdeploy.devices.protocol import Completed
from srdeploy.devices.shell import link as module
from srdeploy.devices.shell.capture import TooMuch
from srdeploy.devices.shell.link import ShellCommands, ShellLink, as_text
from tests.devices.shell.local_link import LocalLink


@pytest.fixture
def link() -> LocalLink:
    return LocalLink()


def test_no_shell_reads_a_programs_words(link: LocalLink) -> None:
    ended = link.run(["printf", "%s|", "a b", "$HOME", "it's"], stdin=b"unread")
    assert (ended.returncode, ended.stdout) == (0, b"a b|$HOME|it's|")
    assert link.said == ["printf '%s|' 'a b' '$HOME' 'it'\"'\"'s'"]
    assert link.run(["cat"], stdin=b"given").stdout == b"given"
    assert link.script("cat; exit 3", stdin=b"given").returncode == 3


@pytest.mark.parametrize(("seconds", "limit"), [(0.2, 1), (1.0, 1), (2.6, 3), (60, 60)])
def test_a_program_is_ended_over_there(link: LocalLink, seconds: float, limit: int) -> None:
    assert link.run(["echo", "a b"], timeout=seconds).stdout == b"a b\n"
    assert link.said == [
        f"if command -v timeout >/dev/null; then timeout {limit} echo 'a b'; else echo 'a b'; fi"
    ]


def test_a_system_without_timeout_runs_it_all_the_same() -> None:
    assert LocalLink("/nowhere").run(["echo", "a b"], timeout=5).stdout == b"a b\n"


def test_what_was_ended_there_is_late(link: LocalLink) -> None:
    with pytest.raises(DeviceError, match=r"^'sleep' did not end on 'board' within 0\.5 s\.$"):
        link.run(["sleep", "60", "0"], timeout=0.5)
    link.there = False
    link._told = lambda ended, what: ended  # type: ignore[method-assign]
    with pytest.raises(DeviceLost, match=r"^The board went away during 'sh'\.$"):
        link.run(["sh", "-c", "exit 124"], timeout=0.5)


@pytest.mark.parametrize("code", [0, 3, 123, 125, 255])
def test_other_codes_are_the_programs(link: LocalLink, code: int) -> None:
    assert link.script(f"exit {code}", timeout=5).returncode == code


def test_a_program_may_end_as_timeout_does(link: LocalLink) -> None:
    assert link.script("exit 124").returncode == 124
    with pytest.raises(DeviceError, match="'a script' did not end on 'board' within 5 s"):
        link.script("exit 124", timeout=5)


def test_this_end_waits_ten_seconds_longer(
    link: LocalLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[Any] = []

    def never(command: Any, *, timeout: float | None, **more: Any) -> None:
        limits.append(timeout)
        raise subprocess.TimeoutExpired(command, timeout or 0)

    monkeypatch.setattr(module, "capture", never)
    with pytest.raises(DeviceError, match="'copying' did not end on 'board' within 7 s"):
        link.script("x", timeout=7, what="copying")
    link.there = False
    with pytest.raises(DeviceLost, match="during 'copying'"):
        link.script("x", timeout=0.5, what="copying")
    assert limits == [17, 10.5]


def test_a_program_may_print_so_much(link: LocalLink) -> None:
    assert link.run(["printf", "12345"], most=5).stdout == b"12345"
    with pytest.raises(DeviceError, match=r"^'printf' printed more on 'board' than the 0\.0 MB"):
        link.run(["printf", "12345"], most=4)


def test_unless_it_is_asked_for_more_so_much_is_meant(link: LocalLink) -> None:
    begun = time.monotonic()
    for run in (lambda: link.run(["yes"]), lambda: link.script("yes", what="yes")):
        with pytest.raises(DeviceError, match=r"'yes' printed more .* the 33\.6 MB that it may\.$"):
            run()
    assert time.monotonic() - begun < 30


def test_too_much_says_how_much(link: LocalLink, monkeypatch: pytest.MonkeyPatch) -> None:
    def much(*words: Any, **named: Any) -> None:
        raise TooMuch

    monkeypatch.setattr(module, "capture", much)
    with pytest.raises(DeviceError, match=re.escape("than the 2.5 MB that it may.")):
        link.script("x", most=2_500_000)


def test_a_folder_is_deleted_on_boards_that_are_there(link: LocalLink, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "file").touch()
    link.discard(str(tmp_path / "a b"))
    assert not (tmp_path / "a b").exists()
    link._told = lambda ended, what: (_ for _ in ()).throw(link.lost(what))  # type: ignore
    link.discard(str(tmp_path))  # it goes away just now
    link.there, link.said = False, []
    link.discard(str(tmp_path))
    assert link.said == []


def test_a_device_lost_is_told(link: LocalLink) -> None:
    link.there = False
    with pytest.raises(DeviceLost, match="during 'true'"):
        link.run(["true"])
    with pytest.raises(DeviceLost, match="during 'a script'"):
        link.script("true")


def test_commands_are_text(link: LocalLink) -> None:
    commands = ShellCommands(link)
    done = commands.run(["sh", "-c", "cat; printf '\\377' >&2; exit 4"], stdin=b"\xffa", timeout=9)
    assert done == Completed(4, "\ufffda", "\ufffd")
    assert "timeout 9" in link.said[0]
    assert as_text(subprocess.CompletedProcess([], 1, b"a", b"b")) == Completed(1, "a", "b")


@pytest.mark.parametrize("name", ["alive", "remote", "lost", "_answers", "_told"])
def test_a_link_must_bring_everything(name: str) -> None:
    kept = {one: vars(LocalLink)[one] for one in ShellLink.__abstractmethods__ if one != name}
    with pytest.raises(TypeError, match=f"abstract method '?{name}'?"):
        type("Half", (ShellLink,), kept)()
