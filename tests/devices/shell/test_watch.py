"""Sensors that do not print what they should."""

from __future__ import annotations

import shlex
import time
from typing import Any

import pytest

from srdeploy.devices.answers import Implausible
from srdeploy.devices.shell import watch as module
from srdeploy.devices.shell.watch import SensorSource, ShellWatch
from srdeploy.devices.ssh.sensors import parse_nvidia_smi
from srdeploy.devices.ssh.tegrastats import parse_line


class Here:
    """This machine in place of a board."""

    name = "board"

    def remote(self, text: str) -> list[str]:
        return ["sh", "-c", text]


def watched(script: str, parse: Any, blocks: bool = False) -> ShellWatch:
    watch = ShellWatch(Here(), SensorSource(script, parse, blocks=blocks), 0.01)  # type: ignore[arg-type]
    watch._thread.join(30)
    assert not watch._thread.is_alive()
    watch.stop()
    return watch


def test_a_line_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 10_000)
    watch = watched("exec cat /dev/zero", parse_line)
    with pytest.raises(Implausible, match="'board' answered what cannot be read"):
        watch.readings  # noqa: B018


def test_a_block_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 10_000)
    watch = watched("exec yes a=b", parse_line, blocks=True)
    with pytest.raises(Implausible, match="without end"):
        watch.readings  # noqa: B018


def test_readings_without_end_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_READINGS", 100)
    watch = watched("exec yes '1, 2, 3, 4'", parse_nvidia_smi)
    with pytest.raises(Implausible, match="no end of readings"):
        watch.readings  # noqa: B018


def test_numbers_of_many_digits_are_cut_off() -> None:
    line = f"RAM 1/2MB VDD_IN {'9' * 5000}/1"
    watch = watched(f"echo {shlex.quote(line)}; exec sleep 30", parse_line)
    with pytest.raises(Implausible, match="cannot be read"):
        watch.readings  # noqa: B018


def test_blocks_come_whole() -> None:
    found: list[str] = []

    def keep(text: str, seconds: float) -> None:
        found.append(text)

    text = r"a=1\nb=2\n--\n\377\n--\nhalf"
    source = SensorSource(f"printf '{text}'; exec sleep 30", keep, blocks=True)
    watch = ShellWatch(Here(), source, 0.01)  # type: ignore[arg-type]
    end = time.monotonic() + 30
    while len(found) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    watch.stop()
    assert found == ["a=1\nb=2\n", "\ufffd\n"]
    assert watch.readings == []
