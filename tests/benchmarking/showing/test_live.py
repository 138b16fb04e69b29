"""What is told while a run goes on: a line for each result, or a table that fills up."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from srdeploy.benchmarking.measuring.plan import Batch, Watcher
from srdeploy.benchmarking.measuring.request import Request
from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.benchmarking.showing import live
from srdeploy.benchmarking.showing.live import SHOWN, live_table
from srdeploy.measure.scenario import Scenario
from srdeploy.util.progress import is_quiet, set_quiet
from tests.benchmarking.material import measured


def batch(inputs: Any = ("median",), repeat: int = 0) -> Batch:
    return Batch("fake://x", Request(Scenario(name="quick", inputs=inputs), 2), repeat)


def row(**changes: Any) -> Row:
    one = measured([12.345])
    return row_of(one, one).model_copy(update=changes)


def test_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with live_table(3) as watcher:
        watcher.turn(batch(), "a.onnx", [1.0])
        watcher.row(batch(), "/some/a.onnx", row(), False)
        watcher.row(batch(((20, 30),)), "b.onnx", row(), True)
        watcher.said("It \x1b[2J waits.")
        watcher.row(batch(), "c.onnx", row(p50_ms=None), True)
        watcher.row(batch(), "c.onnx", row(error="It fell."), False)
    assert capsys.readouterr() == (
        "",
        "1/3 a.onnx fake://x quick: 12.35 ms\n"
        "2/3 b.onnx fake://x quick 30x20: 12.35 ms (was stored)\n"
        "It \\x1b[2J waits.\n"
        "3/3 c.onnx fake://x quick: no latency (was stored)\n"
        "4/3 c.onnx fake://x quick: It fell.\n",
    )


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    set_quiet(True)
    try:
        with live_table(1) as watcher:
            assert type(watcher) is Watcher
            watcher.row(batch(), "a", row(), False)
            watcher.said("x")
    finally:
        set_quiet(False)
    assert capsys.readouterr() == ("", "")


def drawn(watcher: Any) -> list[str]:
    """The table as it is at present, line by line, without spaces in excess."""
    console = Console(width=80, file=io.StringIO())
    console.print(watcher._drawn())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    screen = io.StringIO()
    monkeypatch.setattr(live, "drawn", lambda: True)
    monkeypatch.setattr(live, "safe_console", lambda **more: Console(file=screen, width=80))
    return screen


def test_a_table_that_fills_up(terminal: io.StringIO) -> None:
    with live_table(4) as watcher:
        assert is_quiet()  # no bars beside it
        watcher.turn(batch(), "a.onnx", [3.0, 1.0, 20.0])
        watcher.turn(batch(), "a.onnx", [5.0])
        watcher.turn(batch(repeat=1), "b.onnx", [7.0, 8.0])
        table = drawn(watcher)
        assert table[0] == "artifact device scenario p50 ms"
        assert table[2:] == [
            "a.onnx fake://x quick 5.000 4 runs",
            "b.onnx fake://x quick (2) 7.500 2 runs",
            "0 of 4 done",
        ]
        watcher.row(batch(), "a.onnx", row(), False)
        watcher.row(batch(), "c.onnx", row(), True)
        watcher.row(batch(), "d.onnx", row(p50_ms=None, error="It fell."), True)
        watcher.said("Somebody came.")
        assert drawn(watcher)[2:] == [
            "b.onnx fake://x quick (2) 7.500 2 runs",  # the latest goes last
            "a.onnx fake://x quick 12.35 done",
            "c.onnx fake://x quick 12.35 was stored",
            "d.onnx fake://x quick - It fell.",
            "3 of 4 done",
        ]
    assert not is_quiet()
    assert "Somebody came." in terminal.getvalue()
    assert "12.35" in terminal.getvalue()


def test_earlier_rows_scroll_out(terminal: io.StringIO) -> None:
    with live_table(99) as watcher:
        for number in range(SHOWN + 2):
            watcher.row(batch(), f"n{number}.onnx", row(), False)
        lines = drawn(watcher)
    assert lines[2].startswith("n2.onnx")
    assert len(lines) == SHOWN + 3
