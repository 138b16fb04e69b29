"""Ways out: results, remarks, errors, colours."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator

import pytest

from srdeploy.cli import main, output
from srdeploy.util.progress import set_quiet

TELL = "srdeploy.exporting.provenance.tell"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    with warnings.catch_warnings():
        yield
    set_quiet(False)
    main._set_verbose(False)


def test_remarks_are_for_those_who_are_not_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        set_quiet(quiet)
        output.note("a remark")
        output.complain("an error")
        output.say("a \x1bresult")
        told = capsys.readouterr()
        assert told.out == "a \\x1bresult\n"
        assert told.err == ("" if quiet else "a remark\n") + "an error\n"
    output.emit({"a": "\x7f\u202e"})
    assert capsys.readouterr().out == '{\n  "a": "\\u007f\\u202e"\n}\n'


def test_sentences_are_lines_of_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "one two three four five six"
    monkeypatch.delenv("COLUMNS", raising=False)
    for columns in (None, "20"):
        if columns:
            monkeypatch.setenv("COLUMNS", columns)
        output.say(sentence)
        output.complain(sentence)
        output.write(sentence)
        lines = "one two three four\n  five six\n" if columns else f"{sentence}\n"
        assert capsys.readouterr() == (f"{lines}{sentence}\n", f"{sentence}\n")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    output.complain(sentence)
    assert capsys.readouterr().err == "one two three four\n  five six\n"


def test_of_a_long_list_the_dearest_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [3, 9, 1, 9, 5]
    assert output.essential(rows, int, "rows", most=5) == rows
    assert capsys.readouterr().err == ""
    assert output.essential(rows, int, "rows", most=3) == [9, 9, 5]
    assert capsys.readouterr().err == "2 of 5 rows are not shown; --verbose lists them\n"
    main._set_verbose(True)
    assert output.essential(rows, int, "rows", most=3) == rows
    assert capsys.readouterr().err == ""


def test_marks_are_words_in_colours() -> None:
    assert (str(output.mark(1)), output.mark(1).style) == ("yes", "green")
    assert (str(output.mark("")), output.mark("").style) == ("no", "yellow")


def test_colours_are_left_out_where_none_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.console().color_system is not None
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.console().color_system is None


def test_a_command_to_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["srdeploy", "finetune", "a b.st", *["--data", "x" * 30] * 3, "-o", "z" * 74, "$HOME"]
    output.say_command(shlex.join(words))
    assert capsys.readouterr().out == f"  {shlex.join(words)}\n"  # in a pipe it stays one line
    monkeypatch.setenv("COLUMNS", "80")
    output.say_command(shlex.join(words))
    told = capsys.readouterr().out
    lines = told.splitlines()
    assert lines[0] == f"  srdeploy finetune 'a b.st' --data {'x' * 30} \\"
    assert max(map(len, lines)) <= 80
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split(told.replace("\\\n", " ")) == words
