"""What labgrid's client is asked, and what its answers mean."""

from __future__ import annotations

import getpass
import socket
import subprocess
from typing import Any

import pytest

from srdeploy.errors import SrdeployError
from srdeploy.farm import labgrid_place as module
from srdeploy.farm.labgrid_place import Busy, hold_place

OURS = f"{socket.gethostname()}/{getpass.getuser()}"


class Client:
    """Stands in for the program: an exit code and texts by action."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: tuple[int, str, str]) -> None:
        self.answers, self.asked = answers, []
        monkeypatch.setattr(module.shutil, "which", lambda name: name)
        monkeypatch.setattr(subprocess, "run", self.run)

    asked: list[str]

    def run(self, command: list[str], **options: Any) -> Any:
        assert command[:-1] == ["labgrid-client", "--coordinator", "lab:1", "--place", "orin"]
        assert options == {
            "capture_output": True, "text": True, "timeout": 30.0, "stdin": subprocess.DEVNULL,
        }  # fmt: skip
        self.asked.append(command[-1])
        if command[-1] in self.answers:
            code, out, err = self.answers[command[-1]]
            if code < 0:
                raise subprocess.TimeoutExpired(command, 30)
            return subprocess.CompletedProcess(command, code, out, err)
        return subprocess.CompletedProcess(command, 0, "", "")


def test_held_and_released(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(monkeypatch)
    with hold_place("orin", "lab:1"):
        assert client.asked == ["acquire"]
    assert client.asked == ["acquire", "release"]


@pytest.mark.parametrize(
    ("out", "err", "kind", "sentence"),
    [
        ("", "noise\n already acquired by alice \n", Busy,
         "The labgrid place 'orin' is taken (already acquired by alice)."),
        ("acquired by bob", "", Busy, "The labgrid place 'orin' is taken (acquired by bob)."),
        ("ignored", "not found", SrdeployError,
         "The labgrid place 'orin' cannot be acquired (not found)."),
        ("", " \n", SrdeployError,
         "The labgrid place 'orin' cannot be acquired (no reason given)."),
    ],
)  # fmt: skip
def test_refusals(
    out: str, err: str, kind: type[Exception], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(monkeypatch, acquire=(1, out, err), show=(0, "acquired: desk/alice", ""))
    with pytest.raises(kind) as caught, hold_place("orin", "lab:1"):
        raise AssertionError("not held")
    assert type(caught.value) is kind
    assert str(caught.value) == sentence
    assert client.asked == ["acquire", "show"]


def test_ones_own_of_before_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(monkeypatch, acquire=(1, "", "acquired"), show=(0, f"  acquired: {OURS}\n", ""))
    with hold_place("orin", "lab:1"):
        pass
    assert client.asked == ["acquire", "show", "release"]


def test_a_coordinator_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    Client(monkeypatch, acquire=(-1, "", ""))
    with pytest.raises(SrdeployError) as caught, hold_place("orin", "lab:1"):
        raise AssertionError("not held")
    assert str(caught.value) == "The labgrid coordinator 'lab:1' does not answer within 30 s."
