"""The console: where it writes, how wide, in which colours; which characters are written out."""

from __future__ import annotations

import io
import sys

import pytest
from rich.text import Text

from srdeploy.util.terminal import plain, safe_console


def test_where_it_writes(capsys: pytest.CaptureFixture[str]) -> None:
    safe_console().print("out")
    safe_console(stderr=True).print("err")
    assert capsys.readouterr() == ("out\n", "err\n")
    stream = io.StringIO()
    safe_console(file=stream, width=12).print("word " * 5)
    assert stream.getvalue() == "word word \nword word \nword \n"
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("colours", [True, False])
def test_colours_where_the_terminal_has_them(
    colours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    safe_console(file=stream, colours=colours).print(Text("a\x1bb", style="red"))
    shown = stream.getvalue()
    assert "a\\x1bb" in shown
    assert ("\x1b[31m" in shown) is colours
    stream = Terminal()
    safe_console(file=stream).print(Text("a", style="red"))
    assert "\x1b[31m" in stream.getvalue()  # unless told otherwise


@pytest.mark.skipif(sys.platform == "win32", reason="another terminal")
def test_neither_brackets_nor_colons_mean_anything() -> None:
    stream = io.StringIO()
    safe_console(file=stream, width=40).print("[red]a[/red] :smile: \t1")
    assert stream.getvalue().startswith("[red]a[/red] :smile:")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a\nb\tc"),
        ("a\x00", "a\\x00"),
        ("a\r\n", "a\\r\n"),
        ("\u202e\n", "\\u202e\n"),
        ("\ud800", "\\ud800"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\U000e0041", "\\U000e0041"),
        ("\u00a0\u3000", "\u00a0\u3000"),
        ("\ue000\n", "\ue000\n"),
    ],
)
def test_characters(text: str, shown: str) -> None:
    assert plain(text) == shown
