"""How worker processes end, and what is told of it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from srdeploy.measure import process
from srdeploy.measure.process import WorkerFailed, WorkerProcess, end_process

LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")


def scripted(body: str, threads: int = 1, timeout: float = 30.0) -> WorkerProcess:
    code = f"import sys, os, json, time, signal\nfor line in sys.stdin:\n    {body}"
    return WorkerProcess(threads, timeout, command=(sys.executable, "-c", code))


def test_every_library_has_the_same_threads() -> None:
    names = [*(f"{name}_NUM_THREADS" for name in LIBRARIES), "VECLIB_MAXIMUM_THREADS"]
    body = f"print(json.dumps({{'ok': 1, 'n': [os.environ[k] for k in {names}]}}), flush=True)"
    with scripted(body, threads=3) as worker:
        assert worker.ask("x") == {"n": ["3"] * 5}


def test_a_signal_is_told_by_its_name_and_only_kill_may_be_memory() -> None:
    with (
        scripted("os.kill(os.getpid(), signal.SIGTERM)") as worker,
        pytest.raises(WorkerFailed) as caught,
    ):
        worker.ask("turn")
    assert str(caught.value) == "its process died during 'turn' (SIGTERM)."


def test_the_last_line_of_many_is_told() -> None:
    body = "print('one\\n  two  \\n', file=sys.stderr, flush=True); os._exit(0)"
    with scripted(body) as worker, pytest.raises(WorkerFailed) as caught:
        worker.ask("open")
    assert str(caught.value) == "its process died during 'open' (exit code 0): two."


def test_bytes_that_are_no_text_do_not_hide_it() -> None:
    with (
        scripted(
            "sys.stderr.buffer.write(b'\\xff bad'); sys.stderr.flush(); os._exit(4)"
        ) as worker,
        pytest.raises(WorkerFailed, match=r"exit code 4\): . bad\.$"),
    ):
        worker.ask("open")


def test_one_that_hangs_is_gone_at_once() -> None:
    with scripted("signal.pause()", timeout=0.3) as worker:
        began = time.monotonic()
        with pytest.raises(WorkerFailed, match=r"no answer to 'turn' within 0\.3 s; it was ended"):
            worker.ask("turn")
        assert time.monotonic() - began < process._GRACE_SECONDS
        assert worker._process.poll() == -9


def waiting(code: str) -> subprocess.Popen[bytes]:
    started = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert started.stdout is not None
    started.stdout.readline()  # it has started
    return started


def test_one_that_ends_with_its_stdin_is_not_killed() -> None:
    code = "import sys; print(flush=True); sys.stdin.read(); sys.exit(5)"
    assert end_process(waiting(code), 30) == 5


def test_one_that_does_not_is() -> None:
    began = time.monotonic()
    assert end_process(waiting("import time; print(flush=True); time.sleep(60)"), 0.1) == -9
    assert time.monotonic() - began < 20


def test_one_that_is_gone_already() -> None:
    started = waiting("print(flush=True)")
    started.wait()
    assert end_process(started, 1) == 0
    assert end_process(started, 1) == 0
