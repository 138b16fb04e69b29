from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from srdeploy.errors import UserError
from srdeploy.runtime import patience as module
from srdeploy.runtime.patience import VARIABLE, end_process, patience, within


@pytest.fixture
def left_behind(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    threads: list[threading.Thread] = []
    monkeypatch.setattr(module, "_left_behind", threads)
    return threads


def test_two_minutes_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert patience() == 120
    for right in (0.001, 1e9):
        monkeypatch.setenv(VARIABLE, str(right))
        assert patience() == right
    monkeypatch.setenv(VARIABLE, str(threading.TIMEOUT_MAX))  # more than a thread can wait
    with pytest.raises(UserError, match=f"{VARIABLE} is '.*'; give a number of seconds"):
        patience()


def test_work_that_is_left_behind(left_behind: list[threading.Thread]) -> None:
    ends = threading.Event()
    with pytest.raises(UserError) as caught:
        within(0.0625, ends.wait, "'a.onnx' ran, and gave no result")
    assert str(caught.value) == (
        "'a.onnx' ran, and gave no result within 0.0625 s; its graph may be made to run for ever. "
        "If you trust it, give it more time: SRDEPLOY_PATIENCE=1."
    )
    (thread,) = left_behind
    assert thread.daemon
    ends.set()
    thread.join(5)
    assert not thread.is_alive()


def test_ten_times_the_time_is_offered(left_behind: list[threading.Thread]) -> None:
    ends = threading.Event()
    with pytest.raises(UserError, match=r"within 0\.26 s.*PATIENCE=3\.$"):
        within(0.26, ends.wait, "it did not come")
    ends.set()


def test_work_that_stops_when_asked(left_behind: list[threading.Thread]) -> None:
    """It has seconds to do so, and is waited for no longer than that."""
    asked = threading.Event()
    with pytest.raises(UserError):
        within(0.01, lambda: asked.wait(30), "it did not come", asked.set)
    assert not left_behind[0].is_alive()
    assert 1 < module.GRACE < 60


def test_the_exit_code_is_kept(left_behind: list[threading.Thread]) -> None:
    with pytest.raises(SystemExit) as caught:
        end_process(3)
    assert caught.value.code == 3
    done = threading.Thread(target=lambda: None)
    done.start()
    done.join()
    left_behind.append(done)
    with pytest.raises(SystemExit):
        end_process(0)


def test_an_end_with_work_left_behind() -> None:
    """At once, with what was printed, and past everything that waits for the end."""
    code = (
        "import atexit, sys, threading; from srdeploy.runtime import patience\n"
        "thread = threading.Thread(target=threading.Event().wait, daemon=True)\n"
        "thread.start(); patience._left_behind.append(thread)\n"
        "atexit.register(print, 'taken down')\n"
        "print('said'); print('wrong', file=sys.stderr); patience.end_process(7)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "wrong\n")
