"""How commands end: exit codes, one sentence, and what --quiet and --verbose leave."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from srdeploy.cli import main
from srdeploy.cli.main import run
from srdeploy.errors import SrdeployError, UserError
from srdeploy.util.progress import is_quiet, set_quiet
from tests.cli.reach import exit_code

TELL = "srdeploy.exporting.provenance.tell"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    with warnings.catch_warnings():
        yield
    set_quiet(False)
    main._set_verbose(False)


def ending(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(TELL, fail)
    return run(["explain", "x"])


FULL = OSError(errno.ENOSPC, "No space left on device", "a/b")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("It is\nnot there."), 2, "It is not there."),
        (SrdeployError("It failed."), 1, "It failed."),
        (KeyboardInterrupt(), 130, "Interrupted; what is finished stays"),
        (MemoryError(), 1, "Out of memory; use a smaller image, batch or patch."),
        (OSError(errno.EACCES, "Permission denied", "x/y"), 1, "Permission denied: 'x/y'."),
        (OSError(errno.EACCES, "Permission denied"), 1, "Permission denied."),
        (OSError("odd"), 1, "odd."),
        (FULL, 1, "There is no space left on the disk of a/b; free some and run again."),
        (ValueError("a\n b"), 1, "Internal error (ValueError: a b); please report it"),
        (ValueError("x" * 301), 1, f"(ValueError: {'x' * 300});"),
    ],
)
def test_errors_are_one_sentence_and_a_code(
    error: BaseException,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("SRDEPLOY_DEBUG", raising=False)
    assert ending(monkeypatch, error) == code
    said = capsys.readouterr().err
    assert said.startswith("srdeploy: ")
    assert told in said
    assert len(said.splitlines()) == 1


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_DEBUG", "1")
    with pytest.raises(ValueError, match="odd"):
        ending(monkeypatch, ValueError("odd"))
    assert ending(monkeypatch, UserError("It is not there.")) == 2


@pytest.mark.parametrize(
    ("rank", "error", "told"),
    [
        ("0", UserError("No."), "srdeploy: No.\n"),
        ("1", UserError("No."), "srdeploy (process 1): No.\n"),
        ("1", KeyboardInterrupt(), ""),
    ],
)
def test_of_several_processes_each_names_itself(
    rank: str,
    error: BaseException,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", rank)
    assert ending(monkeypatch, error) == (130 if isinstance(error, KeyboardInterrupt) else 2)
    assert capsys.readouterr().err == told


def test_a_closed_pipe_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed: list[bool] = []
    stream = SimpleNamespace(close=lambda: closed.append(True))
    monkeypatch.setattr(sys, "stderr", stream)
    assert ending(monkeypatch, BrokenPipeError()) == 1
    assert closed == [True]


def test_without_words_the_help_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["srdeploy"])
    assert run() == 0
    assert "Usage" in capsys.readouterr().out
    assert run(["nothing"]) == 2
    assert "See `srdeploy --help`." in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["srdeploy", "--version"])
    assert run() == 0
    assert capsys.readouterr().out.startswith("srdeploy ")


@pytest.mark.parametrize("code", [0, 2])
def test_the_process_ends_with_the_commands_code(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "run", lambda arguments: code)
    monkeypatch.setitem(sys.modules, "srdeploy.runtime.patience", None)
    with pytest.raises(SystemExit) as ended:
        main.main([])
    assert ended.value.code == code


def test_the_module_runs_as_a_script() -> None:
    line = [sys.executable, "-m", "srdeploy.cli.main", "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("srdeploy ")


def test_quiet_and_verbose_hold_for_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("srdeploy")
    story = {"srdeploy.exporting.provenance:tell": SimpleNamespace(to_dict=lambda: {})}

    def state(words: str) -> tuple[bool, int, int]:
        assert exit_code(f"{words} explain x --json", story) == 0
        named = [h for h in logger.handlers if h.get_name() == "verbose"]
        return is_quiet(), logger.level, len(named)

    assert state("") == (False, logging.WARNING, 0)
    assert state("--quiet") == (True, logging.WARNING, 0)
    assert state("--verbose") == (False, logging.INFO, 1)
    assert state("-v") == (False, logging.INFO, 1)  # one handler, not two
    capsys.readouterr()
    logger.info("reading %s", "\x1b[2J")
    told = capsys.readouterr().err
    assert " ms  reading \\x1b[2J" in told
    assert state("") == (False, logging.WARNING, 0)


def test_libraries_warnings_are_for_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(words: str) -> bool:
        with warnings.catch_warnings(record=True) as caught:
            warnings.resetwarnings()
            exit_code(f"{words} explain x", {"srdeploy.exporting.provenance:tell": None})
            warnings.warn("of a library", stacklevel=1)
        return bool(caught)

    monkeypatch.setattr(sys, "warnoptions", [])
    assert shown("--verbose")
    assert not shown("")
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    assert shown("")
