"""When a bar is drawn, and what is told of it where none is."""

from __future__ import annotations

import sys

import pytest

from srdeploy import progress
from srdeploy.progress import drawn, hidden, is_quiet, set_quiet, track


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


def test_it_is_loud_unless_told() -> None:
    assert progress._quiet is False


def test_what_is_not_drawn_takes_every_update() -> None:
    with hidden(), track("a", 3) as bar:
        assert bar.update() is None
        assert bar.update(2, loss="1") is None
