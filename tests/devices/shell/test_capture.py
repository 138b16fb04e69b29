"""Bounded output of somebody else's programs."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from srdeploy.devices.shell.capture import TooMuch, capture


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_it_answers_as_subprocess_does() -> None:
    code = "import sys; sys.stdout.write(sys.stdin.read()); sys.stderr.write('x'); sys.exit(3)"
    ended = capture(python(code), stdin=b"given" * 100_000, most=500_000)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"given" * 100_000, b"x")


def test_one_byte_more_than_allowed_is_too_much() -> None:
    with pytest.raises(TooMuch):
        capture(python("print('x' * 100_000, end='')"), most=99_999)
    with pytest.raises(TooMuch):
        capture(python("print('xyz', end='')"), most=2)


def test_what_prints_for_ever_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TooMuch):
        capture(["yes"], most=1 << 20)
    assert time.monotonic() - began < 30


def test_complaints_without_end_are_cut_and_harm_nothing() -> None:
    code = "import sys; sys.stderr.write('x' * (6 << 20)); print('well')"
    ended = capture(python(code), most=100)
    assert ended.stdout == b"well\n"
    assert len(ended.stderr) == 4 << 20


def test_what_is_late_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        capture(["sleep", "60"], timeout=0.2, most=1)


def test_a_program_that_reads_nothing_may_end() -> None:
    assert capture(["true"], stdin=b"x" * (1 << 20), most=1).returncode == 0
