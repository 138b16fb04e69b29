"""Nothing that a board, a card or a store says is obeyed by a terminal."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from srdeploy.cli import output
from srdeploy.cli.main import run
from srdeploy.util.progress import set_quiet
from srdeploy.util.terminal import plain, safe_console

EVIL = {
    "escape": "a\x1b[2Jb",
    "clipboard": "a\x1b]52;c;ZXZpbA==\x07b",
    "c1": "a\x9b2Jb\x90q\x9c",
    "carriage": "good\rbad",
    "backspace": "bad\b\b\bgood",
    "delete": "a\x7fb",
    "bidi": "a\u202etxt.exe\u202cb",
    "isolate": "a\u2066b\u2069",
    "zero width": "a\u200bb\ufeff",
    "separator": "a\u2028b\u2029c",
    "tag": "a\U000e0041b",
    "surrogate": "a\ud800b",
    "vertical": "a\x0bb\x0cc\x1cd\x85e",
}
ALL = " ".join(EVIL.values())


def obeyed(text: str) -> set[str]:
    return {c for c in text if c != "\n" and not c.isprintable()}


@pytest.mark.parametrize("text", EVIL.values(), ids=EVIL.keys())
def test_what_is_obeyed_is_written_out(text: str) -> None:
    shown = plain(text)
    assert not obeyed(shown)
    assert plain(shown) == shown
    assert len(shown) > len(text)


def test_what_is_not_obeyed_stays() -> None:
    text = "Größe 日本語 \\x1b [bold] 1.5 µs\n\tsecond\u00a0line 🙂"
    assert plain(text) == text


def test_every_way_out_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    output.say(ALL)
    output.note(ALL)
    table = Table(ALL, title=ALL, caption=ALL)
    table.add_row(ALL)
    table.add_row(Text(ALL))
    output.console().print(table)
    output.console().print(ALL)
    said = capsys.readouterr()
    assert not obeyed(said.out)
    assert not obeyed(said.err)
    assert "\\x1b" in said.out


def test_json_stays_json_and_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit({ALL: [ALL]})
    text = capsys.readouterr().out
    assert not obeyed(text)
    assert json.loads(text) == {ALL: [ALL]}


def test_brackets_are_no_markup() -> None:
    stream = io.StringIO()
    console = safe_console(file=stream, width=60)
    console.print("[link=https://evil]net[1].onnx[/link] [/] :smile:")
    assert stream.getvalue().strip() == "[link=https://evil]net[1].onnx[/link] [/] :smile:"


def test_errors_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "no\x1b]0;evil\x07\x9b31m\u202enet"]) == 2
    said = capsys.readouterr()
    assert "\\x1b" in said.err
    assert not obeyed(said.err)


def test_remarks_of_verbose_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        run(["--verbose", "inspect", "no-such-network"])
        logging.getLogger("srdeploy").info("read %s", "a\x1b[2Jb")
        assert "a\\x1b[2Jb" in capsys.readouterr().err
    finally:
        run(["doctor", "--json"])


def test_bars_and_live_tables_are_plain() -> None:
    stream = io.StringIO()
    console = safe_console(file=stream, width=200)
    table = Table("device")
    table.add_row(Text(EVIL["clipboard"]))
    console.print(table)
    assert "\x1b" not in stream.getvalue()


def test_nothing_prints_around_the_owner() -> None:
    """One door: what prints elsewhere would be raw."""
    package = Path(sys.modules["srdeploy"].__file__ or "").parent
    allowed = {"util/terminal.py", "cli/output.py"}
    others = {  # protocols between our own processes, and programs that run elsewhere
        *("farm/runner.py", "measure/worker.py", "measure/precision.py", "devices/apple/agent.py"),
        *("assets/scripts/build_engine.py", "runtime/ncnn/gpus.py"),
    }
    # plain() stands in each print of theirs
    shown = {
        *("benchmarking/showing/live.py", "devices/browser/device.py", "util/progress.py"),
        *("devices/build_runner.py", "devices/browser/fetch_runtime.py"),
        "train/make_hdf5.py",
    }
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if any(
            word in line.split("#")[0]
            for line in path.read_text(encoding="utf-8").splitlines()
            for word in (" print(", " Console(", "=Console(")
        )
    }
    assert found - others <= allowed | shown
    for name in shown:
        text = (package / name).read_text(encoding="utf-8")
        assert text.count("print(") - text.count(".print(") == text.count("print(plain(")


@pytest.fixture(autouse=True)
def _loud() -> None:
    set_quiet(False)
