"""What a device's worker tells of it, and what it hands to the runner."""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy import __version__
from srdeploy.farm import served_device as module
from srdeploy.farm import state as states
from srdeploy.farm.served_device import ServedDevice
from srdeploy.farm.settings import DeviceEntry, FarmFile
from srdeploy.farm.state import DeviceState, StateFile
from srdeploy.util.files import cache_dir

FARM = FarmFile(scheduler="lab", labgrid="lab:20408", quarantine_after=2)
ENTRY = DeviceEntry(uri="fake://orin", tags=("a", "b"), labgrid="place")
JOB: dict[str, Any] = {"artifacts": [{"name": "x"}, {"name": "y"}], "seconds": 7.0, "blame": True}


class Runner:
    """Answers as it is told, a second and a half after being asked by the station's clock."""

    def __init__(self, now: list[float]) -> None:
        self.now, self.answer, self.asked, self.killed = now, {"outcome": "done"}, [], []

    answer: dict[str, Any]
    asked: list[Any]
    killed: list[str]
    station: ServedDevice

    def run(self, job: Any, device: Any, seconds: float, id: str) -> Any:
        self.now[0] += 1.52
        self.asked.append((job, device, seconds, id))
        self.seen = self.station.status(), self.station.busy
        self.station.stop()
        if "raises" in self.answer:
            raise self.answer["raises"]
        return dict(self.answer)

    def kill(self, id: str) -> None:
        self.killed.append(id)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    made = Runner(now)
    made.station = ServedDevice(ENTRY, FARM, made)  # type: ignore[arg-type]
    return made


def test_what_never_changes(runner: Runner) -> None:
    assert runner.station.card() == {
        "name": "orin", "uri": "fake://orin", "kind": "fake", "tags": ["a", "b"],
        "host": f"{socket.gethostname()}:{cache_dir()}", "pid": os.getpid(),
        "python": platform.python_version(), "srdeploy": __version__,
    }  # fmt: skip


def test_a_job_is_handed_on_and_its_answer_signed(runner: Runner) -> None:
    station = runner.station
    told = station.run(JOB)
    ((job, device, seconds, id),) = runner.asked
    assert (job, seconds) == (JOB, 7.0)
    assert device == {
        "name": "orin", "uri": "fake://orin", "labgrid": "place", "coordinator": "lab:20408",
    }  # fmt: skip
    assert runner.seen == (
        {"state": "ready", "reason": "", "in_a_row": 0, "done": 0, "running": "x, y",
         "seconds": 1.5}, True,
    )  # fmt: skip
    assert runner.killed == [id]
    assert (told["name"], told["seconds"]) == ("orin", pytest.approx(1.52))
    assert told["status"] == {"state": "ready", "reason": "", "in_a_row": 0, "done": 1}
    station.stop()
    assert runner.killed == [id]  # nothing runs
    assert not station.busy


def test_a_runner_that_breaks_leaves_the_station_free(runner: Runner) -> None:
    runner.answer = {"raises": OSError("gone")}
    with pytest.raises(OSError, match="gone"):
        runner.station.run(JOB)
    assert not runner.station.busy
    runner.answer = {"outcome": "done"}
    assert runner.station.run(JOB)["outcome"] == "done"


def test_the_first_fault_is_the_reason_and_the_second_sets_aside(runner: Runner) -> None:
    told = ((None, "fine"), ("job", "own"), ("device", "first"), ("device", "second"))
    faults = [{"fault": fault, "reason": reason} for fault, reason in told]
    runner.answer = {"outcome": "done", "results": faults}
    runner.station.run(JOB)
    assert runner.station.state.failures[-1].reason == "first"
    answer = runner.station.run(JOB)
    assert answer["status"]["state"] == "quarantined"
    assert answer["status"]["reason"] == "2 failures in a row, the last: first"
    refused = runner.station.run(JOB)
    assert (refused["outcome"], refused["reason"], refused["name"]) == (
        "refused", answer["status"]["reason"], "orin",
    )  # fmt: skip
    assert len(runner.asked) == 2
    assert StateFile("orin").read() == runner.station.state


def test_orders_and_jobs_at_once_lose_neither(runner: Runner) -> None:
    """An order comes on another thread than the one that judges a job."""
    station = runner.station
    orders = threading.Thread(
        target=lambda: [station.order("ready", str(count)) for count in range(100)]
    )
    orders.start()
    for _ in range(100):
        assert station.run(JOB)["outcome"] == "done"
    orders.join()
    assert (station.state.done, station.state.reason) == (100, "99")
    assert StateFile("orin").read() == station.state


def test_states_tell_when(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(states, "_now", lambda: "then")
    state = DeviceState(in_a_row=2, done=4).ordered("drained", "moving")
    assert (state.state, state.reason, state.since) == ("drained", "moving", "then")
    assert (state.in_a_row, state.done) == (0, 4)
    assert (state.succeeded().done, state.succeeded().state) == (5, "drained")
    failed = DeviceState().failed("a", 2)
    assert (failed.state, failed.in_a_row, failed.since, failed.failures[0].at) == (
        "ready", 1, "", "then",
    )  # fmt: skip
    aside = failed.failed("b", 2)
    assert (aside.state, aside.since, aside.in_a_row) == ("quarantined", "then", 2)
    assert DeviceState().failed("a", 1).state == "quarantined"
    again = aside.failed("c", 2)
    assert (again.reason, again.in_a_row) == (aside.reason, 3)
    monkeypatch.undo()
    assert states._now().endswith("+00:00")
    assert time.strftime("%Y-%m-%d", time.gmtime()) in states._now()
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    assert StateFile("x").path == tmp_path / "farm" / "devices" / "x.json"
    for text in ("[]", '{"state": "odd"}', "\xff"):
        StateFile("x").path.parent.mkdir(parents=True, exist_ok=True)
        StateFile("x").path.write_text(text, encoding="latin-1")
        assert StateFile("x").read() == DeviceState()
