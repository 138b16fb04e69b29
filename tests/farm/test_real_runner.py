"""The real runner: jobs of a fake device, one that hangs, and deaths on both sides."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srdeploy.farm.content_store import PackedContents
from srdeploy.farm.runner_process import RunnerProcess, job_id
from srdeploy.measure.scenario import Scenario

NAME = "edsr-s-x2"
QUICK = Scenario(
    min_runs=1, min_seconds=0.05, turn_seconds=0.05, warmup_seconds=0, quality=False, sensors=False
)


@pytest.fixture(scope="module")
def runner() -> Iterator[RunnerProcess]:
    one = RunnerProcess()
    one.start()
    yield one
    one.close()


@pytest.fixture
def job(tmp_path: Path) -> dict[str, Any]:
    from srdeploy.farm.content_store import HostCache

    packed, cache = PackedContents(), HostCache()
    parcel = packed.pack(NAME)
    for _, digest in parcel.files:
        if cache.lacking([digest]):
            cache.receive(digest, 0, packed.sources[digest].read_bytes(), True, "test")
    return {
        "artifacts": [{"name": NAME, "parcel": parcel.as_dict()}],
        "data": "builtin",
        "scenario": QUICK.model_dump(mode="json"),
        "scale": 2,
        "runtime": None,
        "threads": None,
        "options": {},
        "repeat": 0,
    }


def device(uri: str) -> dict[str, Any]:
    return {"name": "desk", "uri": uri, "labgrid": None, "coordinator": None}


def wait_for(path: Path, word: str) -> None:
    end = time.monotonic() + 60
    while not (path.exists() and word in path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)


def uses(path: Path) -> list[str]:
    return [line.split()[0] for line in path.read_text().splitlines()]


def test_a_job_is_measured(runner: RunnerProcess, job: dict[str, Any]) -> None:
    answer = runner.run(job, device("fake://desk?ms=5"), 60, job_id())
    (result,) = answer["results"]
    assert answer["outcome"] == "done"
    assert result["fault"] is None
    assert result["measurement"]["device"] == "desk"
    assert result["measurement"]["samples_ms"]


@pytest.mark.parametrize(
    ("uri", "outcome", "fault"),
    [
        ("fake://desk?fail=refused", "failed", None),
        ("ssh://%%?", "failed", None),
        ("fake://desk?fail=lost", "done", "device"),
    ],
)
def test_the_devices_failures(
    runner: RunnerProcess, job: dict[str, Any], uri: str, outcome: str, fault: str | None
) -> None:
    answer = runner.run(job, device(uri), 60, job_id())
    assert answer["outcome"] == outcome
    if fault:
        assert answer["results"][0]["fault"] == fault
    else:
        assert answer["reason"]


def test_the_jobs_own_failure(runner: RunnerProcess, job: dict[str, Any]) -> None:
    answer = runner.run({**job, "scale": 3}, device("fake://desk"), 60, job_id())
    assert [one["fault"] for one in answer["results"]] == ["job"]


def test_what_is_missing_is_named(runner: RunnerProcess, job: dict[str, Any]) -> None:
    parcel = {"name": "x.onnx", "files": [["x.onnx", "ab" * 32]]}
    job = {**job, "artifacts": [{"name": "x.onnx", "parcel": parcel}]}
    answer = runner.run(job, device("fake://desk"), 60, job_id())
    assert answer == {"outcome": "missing", "files": ["ab" * 32]}


def test_artifacts_of_one_name_and_content_are_contestants_each(
    runner: RunnerProcess, job: dict[str, Any]
) -> None:
    (one,) = job["artifacts"]
    twins = [{**one, "name": f"{folder}/{NAME}.safetensors"} for folder in "ab"]
    answer = runner.run(
        {**job, "artifacts": [*twins, twins[0]]}, device("fake://desk"), 60, job_id()
    )
    assert [result["name"] for result in answer["results"]] == [
        one["name"] for one in (*twins, twins[0])
    ]
    sessions = [result["measurement"]["session"] for result in answer["results"]]
    assert len(set(sessions)) == 1  # they took turns
    assert len({str(result["measurement"]["samples_ms"]) for result in answer["results"]}) == 3


def test_a_job_that_does_not_end_is_ended(
    runner: RunnerProcess, job: dict[str, Any], tmp_path: Path
) -> None:
    uri = f"fake://slow?pace=1e5&lock={tmp_path}"
    began = time.monotonic()
    answer = runner.run(job, device(uri), 2, job_id())
    assert answer["outcome"] == "hung"
    assert "within 2 s" in answer["reason"]
    assert time.monotonic() - began < 60
    again = runner.run(job, device(f"fake://slow?lock={tmp_path}"), 60, job_id())
    assert again["outcome"] == "done"
    assert uses(tmp_path / "slow.lock")[-2:] == ["in", "out"]


def test_a_device_is_used_once_at_a_time(
    runner: RunnerProcess, job: dict[str, Any], tmp_path: Path
) -> None:
    uri = f"fake://one?pace=4&lock={tmp_path}"
    answers: list[Any] = []

    def run() -> None:
        answers.append(runner.run(job, device(uri), 60, job_id()))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer["outcome"] for answer in answers] == ["done"] * 4
    assert uses(tmp_path / "one.lock") == ["in", "out"] * 4


def test_nothing_outlives_the_runner(job: dict[str, Any], tmp_path: Path) -> None:
    one = RunnerProcess()
    one.start()
    answers: list[Any] = []
    uri = f"fake://held?pace=1e5&lock={tmp_path}"
    thread = threading.Thread(
        target=lambda: answers.append(one.run(job, device(uri), 600, job_id()))
    )
    thread.start()
    wait_for(tmp_path / "held.lock", "in")
    assert one._process is not None
    os.kill(one._process.pid, signal.SIGKILL)  # not a word to its jobs
    thread.join(60)
    assert answers[0]["outcome"] == "died"
    # The orphan has ended itself, else this would find the device in use; a new runner starts.
    answer = one.run(job, device(f"fake://held?lock={tmp_path}"), 60, job_id())
    assert answer["outcome"] == "done"
    assert "refused" not in (tmp_path / "held.lock").read_text()
    one.close()
