"""The runner's process itself, with jobs that the test makes up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

RUNNER = """
import os, sys, time
from srdeploy.farm import runner

def answer(order):
    job = order["job"]
    if job == "noise":
        os.write(1, b"noise on stdout\\n")
        print("more of it", flush=True)
    if job == "sleep":
        time.sleep(60)
    if job == "children":
        if os.fork() == 0:
            time.sleep(60)
    if job == "die":
        os._exit(5)
    if job == "large":
        return {"outcome": "x" * 3_000_000}
    return {
        "outcome": job, "read": os.read(0, 9).decode(), "set": os.environ.get("OWN"),
        "threads": os.environ.get("OMP_NUM_THREADS"), "group": os.getpgid(0) == os.getpid(),
        "parent": os.getppid(),
    }

runner._answer = answer
runner._import_ahead = lambda: None
runner.main()
"""


class Runner:
    def __init__(self) -> None:
        # A pipe's answers must arrive though nobody asks Python not to hold them back.
        quiet = {name: own for name, own in os.environ.items() if name != "PYTHONUNBUFFERED"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            env={**quiet, "OWN": "mine", "OMP_NUM_THREADS": "7"},
        )  # fmt: skip
        assert self.read() == {"ready": True}

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def order(self, *orders: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(json.dumps(order) + "\n" for order in orders))
        self.process.stdin.flush()

    def job(self, what: str, id: str = "a", seconds: float = 30) -> dict[str, Any]:
        return {"id": id, "job": what, "device": {}, "seconds": seconds}


@pytest.fixture
def runner() -> Iterator[Runner]:
    one = Runner()
    yield one
    one.process.kill()
    one.process.communicate()


def test_a_job_has_an_environment_and_a_group_of_its_own(runner: Runner) -> None:
    runner.order(runner.job("one"))
    assert runner.read() == {
        "id": "a",
        "answer": {
            "outcome": "one", "read": "", "set": "mine", "threads": "7", "group": True,
            "parent": runner.process.pid,
        },
    }  # fmt: skip


def test_what_a_job_prints_is_no_answer(runner: Runner) -> None:
    runner.order(runner.job("noise"), runner.job("large", "b"))
    told = {one["id"]: one["answer"] for one in (runner.read(), runner.read())}
    assert told["a"]["outcome"] == "noise"
    assert len(told["b"]["outcome"]) == 3_000_000
    out, err = runner.process.communicate(timeout=30)
    assert out == ""
    assert "noise on stdout" in err
    assert "more of it" in err
    assert runner.process.returncode == 0


def test_a_job_that_takes_too_long_and_one_that_dies(runner: Runner) -> None:
    began = time.monotonic()
    runner.order(
        runner.job("sleep", seconds=0.3), runner.job("die", "b"), runner.job("sleep", "c", 0.6)
    )
    told = [runner.read() for _ in range(3)]
    assert [(one["id"], one["answer"]["outcome"]) for one in told] == [
        ("b", "died"), ("a", "hung"), ("c", "hung"),
    ]  # fmt: skip
    assert told[0]["answer"]["reason"] == f"the job's process died (status {5 << 8})."
    assert told[1]["answer"]["reason"] == "no end within 0.3 s; it was stopped."
    assert 0.5 < time.monotonic() - began < 20


def test_one_job_is_ended_and_the_other_goes_on(runner: Runner) -> None:
    runner.order(runner.job("sleep"), runner.job("sleep", "b", 1.0), {"kill": "nobody"})
    time.sleep(0.1)
    runner.order({"kill": "a"})
    first, second = runner.read(), runner.read()
    assert (first["id"], first["answer"]["outcome"]) == ("a", "died")
    assert (second["id"], second["answer"]["outcome"]) == ("b", "hung")


def test_a_half_line_is_waited_for(runner: Runner) -> None:
    text = json.dumps(runner.job("one")) + "\n"
    assert runner.process.stdin is not None
    for part in (text[:9], text[9:20], text[20:]):
        runner.process.stdin.write(part)
        runner.process.stdin.flush()
        time.sleep(0.02)
    assert runner.read()["answer"]["outcome"] == "one"


def test_a_jobs_own_children_end_with_it(runner: Runner) -> None:
    runner.order(runner.job("children", seconds=1.0))
    assert runner.read()["answer"]["outcome"] in ("children", "hung")
    _, _ = runner.process.communicate(timeout=30)  # nobody holds its stderr open


def test_the_end_of_stdin_ends_all_jobs(runner: Runner) -> None:
    runner.order(runner.job("sleep"), runner.job("sleep", "b"))
    time.sleep(0.2)
    began = time.monotonic()
    out, _ = runner.process.communicate(timeout=30)  # returns once nobody holds its streams
    assert out == ""
    assert time.monotonic() - began < 20
    assert runner.process.returncode == 0
