"""Silence, and how it ends; memory that the system tells; glibc where it is."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from pathlib import Path

import pytest

from srdeploy.util import allocator, memory, quiet


def speak() -> None:
    print("out")
    print("err", file=sys.stderr)
    warnings.warn("warned", stacklevel=1)
    logging.getLogger("library").critical("logged")


def test_nothing_is_heard(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = logging.root.manager.disable
    with warnings.catch_warnings(record=True) as warned, quiet.quiet():
        speak()
    assert capsys.readouterr() == ("", "")
    assert warned == []
    assert caplog.records == []
    assert logging.root.manager.disable == before
    with pytest.raises(KeyError), quiet.quiet():
        raise KeyError
    assert logging.root.manager.disable == before
    with pytest.warns(UserWarning, match="warned"):
        speak()
    assert capsys.readouterr().out == "out\n"
    assert [record.message for record in caplog.records] == ["logged"]


def test_verbose_it_all_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert quiet._verbose is False
    quiet.set_verbose(True)
    try:
        with pytest.warns(UserWarning, match="warned"), quiet.quiet():
            speak()
    finally:
        quiet.set_verbose(False)
    said = capsys.readouterr()
    assert said.out == ""
    assert {"out", "err"} <= set(said.err.split())


@pytest.mark.parametrize("call", [allocator.keep_freed_memory, allocator.give_back_freed_memory])
def test_with_another_c_library_nothing_happens(
    call: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (OSError, AttributeError):

        def fails(name: str, error: type[Exception] = error) -> object:
            raise error

        monkeypatch.setattr(allocator.ctypes, "CDLL", fails)
        call()  # type: ignore[operator]


def test_what_glibc_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []

    class Library:
        def __init__(self, name: str) -> None:
            asked.append((name,))

        def mallopt(self, *given: int) -> None:
            asked.append(given)

        def malloc_trim(self, *given: int) -> None:
            asked.append(given)

    monkeypatch.setattr(allocator.ctypes, "CDLL", Library)
    allocator.keep_freed_memory()
    assert asked == [("libc.so.6",), (-3, 268435456), (-1, 268435456)]  # of malloc.h
    asked.clear()
    allocator.give_back_freed_memory()
    assert asked == [("libc.so.6",), (0,)]


def test_memory_that_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "meminfo"
    there.write_text("MemTotal: 9 kB\nMemAvailable:    1234 kB\nMemFree: 5 kB\n")
    monkeypatch.setattr(memory, "Path", lambda name: there)
    assert memory.available() == 1234 * 1024
    told = {"SC_PHYS_PAGES": 1001, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(memory.os, "sysconf", told.__getitem__)
    for text in (None, "MemTotal: 9 kB\n"):
        there.unlink() if text is None else there.write_text(text)
        assert memory.available() == 1001 * 4096 // 2  # half of what there is
    monkeypatch.setattr(memory.os, "sysconf_names", {})
    assert memory.available() is None


def test_streams_are_given_back() -> None:
    sink = io.StringIO()
    with contextlib.redirect_stdout(sink):
        with quiet.quiet():
            print("a")
        print("b")
    assert sink.getvalue() == "b\n"
