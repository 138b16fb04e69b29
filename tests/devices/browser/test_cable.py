"""adb's answers, and what to do about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.browser import cable as module
from srdeploy.devices.browser.cable import Cable
from srdeploy.devices.errors import DeviceRefused
from srdeploy.errors import UserError


@pytest.fixture
def adb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """adb's program, which notes how it is called and then does what ``then`` says."""
    (tmp_path / "then").write_text("exit 0")
    path = tmp_path / "adb"
    path.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n. {tmp_path}/then\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ("echo 'error: device  unauthorized.' >&2; exit 1",
         "adb cannot use R58M (device unauthorized); unlock it and allow USB debugging."),
        ("echo 'adb: more than one device' >&2; exit 1",
         "adb cannot use R58M (more than one device); name one: browser://localhost?adb=SERIAL."),
        ("echo 'error: adb: x not found'; exit 2",
         "adb cannot use R58M (x not found); attach it and switch USB debugging on."),
        ("echo 'no devices/emulators found' >&2; exit 1",
         "adb cannot use R58M (no devices/emulators found); attach it and switch USB debugging "
         "on."),
        ("kill -9 $$", "adb cannot use R58M (code -9); see `adb devices`."),
        ("exit 3", "adb cannot use R58M (code 3); see `adb devices`."),
    ],
)  # fmt: skip
def test_phones_that_cannot_be_used(adb: Path, then: str, said: str) -> None:
    (adb / "then").write_text(then)
    cable = Cable("R58M")
    with pytest.raises(DeviceRefused) as caught:
        cable.open("http://localhost/", 81)
    assert str(caught.value) == said
    cable.close()  # nothing was forwarded
    assert (adb / "calls").read_text() == "-s R58M reverse tcp:81 tcp:81\n"


def test_the_only_phone_needs_no_serial(adb: Path) -> None:
    cable = Cable("")
    cable.open("http://localhost/", 81)
    assert (adb / "calls").read_text().splitlines() == [
        "reverse tcp:81 tcp:81",
        "shell am start -a android.intent.action.VIEW -d http://localhost/",
    ]
    (adb / "then").write_text("exit 1")
    cable.close()  # whatever became of the phone
    with pytest.raises(DeviceRefused, match="cannot use the attached phone"):
        cable.open("http://localhost/", 81)


def test_an_adb_that_hangs(adb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, limits = module.subprocess.run, []

    def short(*words: Any, timeout: float, **named: Any) -> Any:
        limits.append(timeout)
        return real(*words, timeout=0.1, **named)

    (adb / "then").write_text("exec /bin/sleep 60")
    monkeypatch.setattr(module.subprocess, "run", short)
    with pytest.raises(DeviceRefused, match=r"\(no answer within 20 s\); see `adb devices`"):
        Cable("R58M").open("http://localhost/", 81)
    assert limits == [20]


def test_without_adb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="adb is not on PATH; install Android's platform tools, or"):
        Cable("")
