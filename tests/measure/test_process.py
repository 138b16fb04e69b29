from __future__ import annotations

import sys
import time

import pytest

from srdeploy.measure.process import WorkerFailed, WorkerProcess


def scripted(body: str, timeout: float = 20.0) -> WorkerProcess:
    """A worker that runs ``body`` for each request line."""
    code = f"import sys, os, json, time\nfor line in sys.stdin:\n    {body}\n    sys.stdout.flush()"
    return WorkerProcess(1, timeout, command=(sys.executable, "-c", code))


def test_answers_and_errors() -> None:
    with scripted("print(json.dumps({'ok': True, 'got': json.loads(line)}))") as worker:
        assert worker.ask("sum", n=1) == {"got": {"do": "sum", "n": 1}}
    with (
        scripted("print(json.dumps({'ok': False, 'error': 'no such thing.'}))") as worker,
        pytest.raises(WorkerFailed, match=r"^no such thing\.$"),
    ):
        worker.ask("open")


def test_nothing_stays_open_when_it_has_ended() -> None:
    with scripted("print(json.dumps({'ok': True}))") as worker:
        worker.ask("x")
    assert worker._answers.get(timeout=10) == ""  # all was read
    assert worker._process.stdout is not None
    assert worker._process.stdout.closed


def test_same_threads_for_every_library() -> None:
    names = "('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')"
    body = f"print(json.dumps({{'ok': True, 'n': [os.environ[k] for k in {names}]}}))"
    with scripted(body) as worker:
        assert worker.ask("x")["n"] == ["1", "1", "1"]


def test_death_is_told_with_last_words() -> None:
    body = "print('cannot go on', file=sys.stderr); os._exit(3)"
    with scripted(body) as worker, pytest.raises(WorkerFailed) as caught:
        worker.ask("first")
    assert str(caught.value) == "its process died during 'first' (exit code 3): cannot go on."


def test_kill_is_told_as_such() -> None:
    with (
        scripted("os.kill(os.getpid(), 9)") as worker,
        pytest.raises(WorkerFailed, match="SIGKILL, perhaps out of memory"),
    ):
        worker.ask("turn")


def test_asking_the_dead() -> None:
    worker = WorkerProcess(1, 5.0, command=(sys.executable, "-c", "pass"))
    time.sleep(0.5)
    with worker, pytest.raises(WorkerFailed, match="died during 'open'"):
        worker.ask("open")


def test_hang_is_ended() -> None:
    started = time.monotonic()
    with (
        scripted("time.sleep(60)", timeout=0.5) as worker,
        pytest.raises(WorkerFailed, match=r"no answer to .turn. within 0\.5 s"),
    ):
        worker.ask("turn")
    assert time.monotonic() - started < 10
