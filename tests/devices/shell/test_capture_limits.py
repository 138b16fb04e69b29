"""Time that a program has, and what is left of it when that is over."""

from __future__ import annotations

import subprocess
import threading
import time

import pytest

from srdeploy.devices.shell import capture as module
from srdeploy.devices.shell.capture import TooMuch, capture


def test_one_that_ends_in_time() -> None:
    ended = capture(["sh", "-c", "sleep 0.2; echo well"], timeout=30, most=5)
    assert (ended.returncode, ended.stdout, ended.args[0]) == (0, b"well\n", "sh")


def test_one_that_does_not() -> None:
    before, begun = threading.active_count(), time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        capture(["sleep", "60"], timeout=0.3, most=1)
    assert 0.3 <= time.monotonic() - begun < 2.5
    assert threading.active_count() == before


def test_what_its_children_print_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.0)
    code = "(sleep 0.3; echo late) & echo early"
    assert capture(["sh", "-c", code], most=100).stdout == b"early\nlate\n"


def test_too_much_is_told_while_it_still_runs() -> None:
    begun = time.monotonic()
    with pytest.raises(TooMuch):
        capture(["sh", "-c", "echo too much; exec sleep 60"], most=3)
    assert time.monotonic() - begun < 30


def test_an_interrupt_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *words: object, **named: object) -> None:
            super().__init__(*words, **named)  # type: ignore[call-overload]
            started.append(self)

    def interrupted(self: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.subprocess, "Popen", Popen)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        capture(["sleep", "60"], most=1)
    assert started[0].returncode == -9


def test_what_a_dead_program_leaves_open_is_waited_for_five_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float | None] = []
    real = threading.Thread.join

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        waits.append(timeout)
        real(self, timeout)

    monkeypatch.setattr(threading.Thread, "join", join)
    capture(["true"], most=1)
    assert [wait for wait in waits if wait is not None] == [5.0] * 3


def test_who_complains_without_end_is_heard_out() -> None:
    code = "head -c 6000000 /dev/zero >&2 || exit 5; echo well"
    ended = capture(["sh", "-c", code], most=100)
    assert (ended.returncode, ended.stdout) == (0, b"well\n")
