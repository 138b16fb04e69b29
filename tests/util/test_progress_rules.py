"""When a bar is drawn, and what is told of it where none is."""

from __future__ import annotations

import sys

import pytest

from srdeploy.util import progress
from srdeploy.util.progress import drawn, hidden, is_quiet, set_quiet, track


class Terminal:
    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.text = ""

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _loud() -> object:
    set_quiet(False)
    yield
    set_quiet(False)


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("silent", [True, False])
def test_bars_are_drawn_on_terminals_unless_asked_not_to(
    terminal: bool, silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal(terminal))
    set_quiet(silent)
    assert is_quiet() is silent
    assert drawn() is (terminal and not silent)
    with hidden():
        assert is_quiet()
        assert not drawn()
    assert is_quiet() is silent
    with pytest.raises(KeyError), hidden():
        raise KeyError
    assert is_quiet() is silent


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.stderr = Terminal(False)

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time stands still but when told, and stderr is no terminal."""
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    monkeypatch.setattr(progress, "sys", made)
    return made


def test_a_line_every_so_often_where_no_bar_is_drawn(clock: Clock) -> None:
    with track("train from 100", 1100, 100) as bar:
        for _ in range(100):
            clock.now += 1
            bar.update(5)
        clock.now += progress.EVERY
        bar.update(500, psnr_y="33.21")  # the end needs no line
    assert clock.stderr.text.splitlines() == [
        "train from 100: 250 of 1100 (23 %), 3 min left",
        "train from 100: 400 of 1100 (36 %), 2 min left",
        "train from 100: 550 of 1100 (50 %), 2 min left",
    ]


def test_work_within_work_shares_the_clock(clock: Clock) -> None:
    with track("outer", 10) as outer:
        for _ in range(2):
            with track("inner", 10) as inner:
                for _ in range(4):
                    clock.now += 5
                    inner.update()
            outer.update()
    with track("next", 2) as bar:  # begins anew
        clock.now += progress.EVERY - 1
        bar.update()
    assert clock.stderr.text.splitlines() == [
        "inner: 2 of 10 (20 %), 40 s left",
    ]


def test_figures_that_find_no_room_stand_below(clock: Clock) -> None:
    with track("regularise", 10) as bar:
        clock.now += 36000
        bar.update(1, loss="0.1\x1b", psnr_y="33.21", penalty="0.125", pruned="0.91", kept="0.03")
        clock.now += progress.EVERY
        bar.update(0.5)
    lines = clock.stderr.text.splitlines()
    assert lines[:2] == [
        "regularise: 1 of 10 (10 %), 90.0 h left",
        "  loss 0.1\\x1b  psnr_y 33.21  penalty 0.125  pruned 0.91  kept 0.03",
    ]
    assert lines[2].startswith("regularise: 1 of 10 (15 %), 56.7 h left")
    with hidden(), track("a", 10) as bar:
        clock.now += 3600
        bar.update()
    assert clock.stderr.text.splitlines() == lines


def test_it_is_loud_unless_told() -> None:
    assert progress._quiet is False


def test_what_is_not_drawn_takes_every_update() -> None:
    with hidden(), track("a", 3) as bar:
        assert bar.update() is None
        assert bar.update(2, loss="1") is None
