"""What a runner makes of orders and ends, without starting one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm import job as jobs
from srdeploy.farm import runner as module
from srdeploy.farm import runner_process
from srdeploy.farm.runner import _answer, _heard, _Running
from srdeploy.farm.runner_process import RunnerProcess, job_id


def running(answer: bytes = b"", **more: Any) -> _Running:
    return _Running("a", 1, 2, 10.0, 5.0, bytearray(answer), **more)


def test_how_a_job_ended() -> None:
    assert _heard(running(b'{"outcome": "done"}'), 0) == {"outcome": "done"}
    assert _heard(running(b'{"outcome": "done"}', hung=True), 9) == {
        "outcome": "hung", "reason": "no end within 5 s; it was stopped.",
    }  # fmt: skip
    for text in (b"", b'{"outcome', b"\xff"):
        assert _heard(running(text), 9) == {
            "outcome": "died", "reason": "the job's process died (status 9).",
        }  # fmt: skip


def test_whose_error_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def execute(job: Any, device: Any) -> Any:
        asked.append((job, device))
        if isinstance(job, Exception):
            raise job
        return {"outcome": "done"}

    monkeypatch.setattr(jobs, "execute", execute)
    assert _answer({"job": 1, "device": 2}) == {"outcome": "done"}
    assert asked == [(1, 2)]
    told = _answer({"job": UserError("no such scale"), "device": 2})
    assert told == {"outcome": "wrong", "reason": "no such scale"}
    assert capsys.readouterr().err == ""
    told = _answer({"job": ValueError("odd\n  thing"), "device": 2})
    assert told == {"outcome": "wrong", "reason": "internal error (ValueError: odd thing)"}
    assert "Traceback" in capsys.readouterr().err


def test_the_next_deadline_is_the_earliest_of_those_that_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = module.Runner.__new__(module.Runner)
    monkeypatch.setattr(time, "monotonic", lambda: 12.0)
    runner._jobs = {}
    assert runner._until_next_deadline() is None
    late = _Running("b", 1, 2, 10.0, 9.0)
    runner._jobs = {1: running(), 2: late}
    assert runner._until_next_deadline() == 3.0
    runner._jobs = {1: running(hung=True), 2: late}
    assert runner._until_next_deadline() == 7.0
    runner._jobs = {1: _Running("c", 1, 2, 1.0, 2.0)}
    assert runner._until_next_deadline() == 0.0
    runner._jobs = {1: running(hung=True)}
    assert runner._until_next_deadline() is None


RUNNER = """
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if "kill" in order:
        print(json.dumps({"id": order["kill"], "answer": {"killed": True}}), flush=True)
    elif order["job"] == "die":
        sys.exit(3)
    elif order["job"] != "wait":
        print(json.dumps({"id": "nobody", "answer": {}}), flush=True)
        print(json.dumps({"id": order["id"], "answer": order}), flush=True)
"""


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    import sys

    (tmp_path / "runner.py").write_text(RUNNER)
    monkeypatch.setattr(runner_process, "COMMAND", (sys.executable, str(tmp_path / "runner.py")))
    one = RunnerProcess()
    yield one
    one.close()


def test_orders_reach_it_and_answers_come_back(runner: RunnerProcess) -> None:
    told = runner.run({"n": 1}, {"uri": "u"}, 7.5, "x")
    assert told == {"id": "x", "job": {"n": 1}, "device": {"uri": "u"}, "seconds": 7.5}
    process = runner._process
    assert process is not None
    runner.start()
    assert runner._process is process  # one is enough
    died = runner.run("die", {}, 1, "y")  # type: ignore[arg-type]
    assert died == {
        "outcome": "died", "reason": "the process that jobs start from was ended.",
    }  # fmt: skip
    assert runner.run({"n": 2}, {}, 1, "z")["job"] == {"n": 2}  # begun again
    assert runner._process is not process


def test_a_job_can_be_ended(runner: RunnerProcess) -> None:
    import threading

    runner.kill("nothing runs yet")
    runner.start()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(runner.run("wait", {}, 1, "w")))  # type: ignore[arg-type]
    thread.start()
    while "w" not in runner._waiting:
        time.sleep(0.005)
    runner.kill("w")
    thread.join(20)
    assert got == [{"killed": True}]


def test_one_that_is_closed_runs_nothing(runner: RunnerProcess) -> None:
    runner.start()
    process = runner._process
    runner.close()
    assert process is not None
    assert process.poll() == 0
    assert runner.run({}, {}, 1, "x")["outcome"] == "died"
    assert runner._process is None


def test_one_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(runner_process, "COMMAND", (sys.executable, "-c", "raise SystemExit(4)"))
    with pytest.raises(SrdeployError, match=r"Jobs cannot be started here \(exit code 4\)"):
        RunnerProcess().start()


def test_names_of_jobs_differ() -> None:
    assert len({job_id() for _ in range(9)}) == 9
    assert job_id().isalnum()


def test_its_end_ends_every_job() -> None:
    import subprocess

    ran = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2)]
    runner = module.Runner.__new__(module.Runner)
    runner._jobs = {n: _Running(str(n), one.pid, n, 0.0, 60.0) for n, one in enumerate(ran)}
    runner.close()
    assert [one.wait(20) for one in ran] == [-9, -9]
