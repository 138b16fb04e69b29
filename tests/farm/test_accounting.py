"""Who is credited with what: jobs, devices and failures, without Dask in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srdeploy.benchmarking.measuring.journal import open_journal
from srdeploy.benchmarking.measuring.plan import Batch, Watcher, plan
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.farm.client import FarmClient, FarmOptions
from srdeploy.farm.fleet import LiveDevice
from srdeploy.farm.jobs import HUNG, LOST, TRIES, Contents, FarmJob, Queue, open_jobs
from srdeploy.farm.results import Results
from srdeploy.farm.served_device import ServedDevice
from srdeploy.farm.settings import DeviceEntry, FarmFile
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store

NAME = "edsr-s-x2"
SCENARIO = Scenario(quality=False)
FARM = FarmFile(scheduler="nowhere", quarantine_after=3)


class Heard(Watcher):
    def __init__(self) -> None:
        self.rows: list[tuple[str, bool, str | None]] = []
        self.sentences: list[str] = []

    def row(self, batch: Batch, artifact: str, row: Row, stored: bool) -> None:
        self.rows.append((batch.device, stored, row.error))

    def said(self, sentence: str) -> None:
        self.sentences.append(sentence)


def measurement(device: str, *, ms: float = 5.0, error: str | None = None) -> Measurement:
    return Measurement(
        artifact=NAME,
        device=device,
        facts=DeviceFacts(kind="fake", model="fake"),
        scenario=SCENARIO,
        started="2026-01-01T00:00:00+00:00",
        scale=2,
        samples_ms=[] if error else [ms, ms],
        turns=[] if error else [2],
        error=error,
    )


def live(name: str, *tags: str, state: str = "ready", running: str | None = None) -> LiveDevice:
    return LiveDevice(
        name=name,
        address=f"tls://{name}",
        uri=f"fake://{name}",
        kind="fake",
        tags=tags,
        host="h",
        state=state,
        reason="",
        in_a_row=0,
        done=0,
        running=running,
        seconds=None,
        python="3",
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "results.sqlite") as one:
        yield one


class Bench:
    """A campaign of two repetitions, whose answers the test makes up."""

    def __init__(self, store: Store, repeats: int = 1) -> None:
        self.store, self.heard = store, Heard()
        self.batches = plan(["good"], [SCENARIO], repeats=repeats, scale=2)
        with open_journal(None) as journal:
            self.campaign = FarmClient(
                FARM, [NAME], self.batches, store, self.heard, journal, FarmOptions()
            )
        self.fleet("a", "b", "c", "d")
        self.jobs = self.campaign._jobs

    def fleet(self, *names: str, **states: str) -> None:
        self.campaign._fleet = [live(n, "good", state=states.get(n, "ready")) for n in names]

    def hear(self, job: FarmJob, device: str, outcome: str, **more: Any) -> bool:
        status = {"state": "ready", "reason": ""}
        answer = {"name": device, "outcome": outcome, "status": status, "seconds": 1.0}
        answer |= {"reason": f"{device} {outcome}"} | more
        return asyncio.run(self.campaign._hear(None, job, answer))  # type: ignore[arg-type]

    def result(self, device: str, fault: str | None = None, ms: float = 5.0) -> dict[str, Any]:
        error = f"{device} failed" if fault else None
        told = measurement(device, ms=ms, error=error).model_dump(mode="json")
        return {"name": NAME, "measurement": told, "fault": fault, "reason": error or ""}

    def stored(self, number: int = 0) -> Measurement:
        batch = self.batches[number]
        found = self.store.get(self.campaign._contents.key(batch, NAME))
        assert found is not None
        return found


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


def test_a_result_is_stored_for_the_device_that_measured_it(bench: Bench) -> None:
    (job,) = bench.jobs
    assert bench.hear(job, "b", "done", results=[bench.result("b")])
    assert bench.stored().device == "b"
    assert bench.heard.rows == [("b", False, None)]
    assert len(bench.store) == 1


def test_the_second_answer_to_one_job_changes_nothing(bench: Bench) -> None:
    (job,) = bench.jobs
    assert bench.hear(job, "a", "done", results=[bench.result("a", ms=5)])
    assert bench.hear(job, "b", "done", results=[bench.result("b", ms=9)])
    assert bench.stored().device == "a"
    assert bench.stored().p50_ms == 5
    assert len(bench.store) == 1


def test_what_a_device_failed_goes_elsewhere_three_times_and_no_more(bench: Bench) -> None:
    (job,) = bench.jobs
    tries = [
        bench.hear(job, name, "done", results=[bench.result(name, "device")]) for name in "abc"
    ]
    assert tries == [False, False, True]
    assert len(tries) == TRIES
    assert list(job.failed_on) == ["a", "b", "c"]
    assert bench.stored().error == "c failed"
    assert bench.stored().device == "c"
    assert [error for _, _, error in bench.heard.rows] == ["c failed"]


def test_a_device_that_failed_a_job_does_not_get_it_again(bench: Bench) -> None:
    (job,) = bench.jobs
    assert not bench.hear(job, "a", "failed")
    assert [one.name for one in bench.campaign._eligible(job)] == ["b", "c", "d"]
    bench.fleet("a", "b", b="quarantined")
    assert bench.campaign._eligible(job) == []
    assert bench.hear(job, "b", "failed")  # nobody is left
    assert "a: a failed; b: b failed" in str(bench.stored().error)


def test_the_jobs_own_fault_is_its_result_at_once(bench: Bench) -> None:
    (job,) = bench.jobs
    assert bench.hear(job, "a", "done", results=[bench.result("a", "job")])
    assert job.failed_on == {}
    assert bench.stored().error == "a failed"


def test_a_wrong_job_is_given_up_without_a_second_device(bench: Bench) -> None:
    (job,) = bench.jobs
    assert bench.hear(job, "a", "wrong", reason="no such scale")
    assert job.failed_on == {}
    assert "no such scale" in str(bench.stored().error)


def test_a_job_may_hang_on_two_devices(bench: Bench) -> None:
    (job,) = bench.jobs
    assert [bench.hear(job, name, "hung") for name in "ab"] == [False, True]
    assert job.hung == HUNG


def test_a_busy_or_refusing_device_is_asked_later(bench: Bench) -> None:
    (job,) = bench.jobs
    for _ in range(10):
        assert not bench.hear(job, "a", "refused")
    assert job.failed_on == {}
    assert len(bench.store) == 0


def test_lost_jobs_are_done_again_up_to_a_limit(bench: Bench) -> None:
    (job,) = bench.jobs
    ends = [bench.hear(job, "a", "died") for _ in range(LOST)]
    assert ends == [False] * (LOST - 1) + [True]
    assert f"it was lost {LOST} times" in str(bench.stored().error)


def test_only_what_failed_is_measured_again(store: Store, tmp_path: Path) -> None:
    bench = Bench(store)
    (job,) = bench.jobs
    other = tmp_path / "other.onnx"
    other.write_bytes(b"x")
    job.artifacts = [NAME, str(other)]
    bench.campaign._contents = bench.campaign._ledger._contents = Contents(job.artifacts)
    failed = {**bench.result("a", "device"), "name": str(other)}
    assert not bench.hear(job, "a", "done", results=[bench.result("a"), failed])
    assert job.artifacts == [str(other)]
    assert len(store) == 1
    assert any("a failed" in sentence for sentence in bench.heard.sentences)


def test_a_quarantine_that_comes_with_an_answer_counts_at_once(bench: Bench) -> None:
    (job,) = bench.jobs
    aside = {"state": "quarantined", "reason": "3 failures in a row"}
    bench.hear(job, "a", "failed", status=aside)
    states = {one.name: one.state for one in bench.campaign._fleet}
    assert states == {"a": "quarantined", "b": "ready", "c": "ready", "d": "ready"}
    assert "a is quarantined: 3 failures in a row" in bench.heard.sentences
    bench.hear(job, "a", "refused", status=aside)
    assert sum("is quarantined" in sentence for sentence in bench.heard.sentences) == 1


def test_no_more_jobs_are_handed_out_than_there_are_devices(store: Store) -> None:
    bench = Bench(store, repeats=12)
    for job in bench.jobs:
        bench.campaign._todo.add(job)
    bench.fleet("a", "b", "c", "d", d="drained")
    first = bench.campaign._startable([])
    assert len(first) == 3  # long jobs: one for each that is ready
    assert bench.campaign._startable(first) == []
    assert len(bench.campaign._startable(first[1:])) == 1
    assert len({job.number for job in bench.jobs}) == 12
    assert len(bench.campaign._todo) == 8


def test_short_jobs_wait_at_their_devices(store: Store) -> None:
    bench = Bench(store, repeats=12)
    for job in bench.jobs:
        bench.campaign._todo.add(job)
    bench.campaign._usual_seconds = 1.0
    assert len(bench.campaign._startable([])) == 8


def test_what_is_stored_is_no_job_again(store: Store) -> None:
    first = Bench(store, repeats=3)
    assert first.hear(first.jobs[1], "a", "done", results=[first.result("a")])
    again = Bench(store, repeats=3)
    assert [job.batch.repeat for job in again.jobs] == [0, 2]
    again.campaign._ledger.recall(again.batches, [NAME])
    assert again.heard.rows == [("a", True, None)]
    assert len(again.campaign._ledger) == 1


def test_a_failure_in_the_store_is_a_job_again(store: Store) -> None:
    first = Bench(store)
    assert first.hear(first.jobs[0], "a", "wrong")
    (job,) = Bench(store).jobs
    again = Bench(store)
    assert again.hear(job, "b", "done", results=[again.result("b")])
    assert again.stored().error is None


def test_apart_is_a_job_for_each_artifact(store: Store) -> None:
    batches = plan(["good"], [SCENARIO], repeats=2, scale=2)
    contents = Contents([NAME])
    both = [NAME, NAME]
    together = open_jobs(batches, both, contents, store, apart=False)
    apart = open_jobs(batches, both, contents, store, apart=True)
    assert [len(job.artifacts) for job in together] == [2, 2]
    assert [len(job.artifacts) for job in apart] == [1, 1, 1, 1]
    assert [job.number for job in apart] == [0, 1, 2, 3]
    assert contents.described(together[0], 5.0)["blame"] is True
    together[0].hung = 1
    assert contents.described(together[0], 5.0)["blame"] is False


def test_the_queue_keeps_the_order_of_each_tag() -> None:
    queue, batches = Queue(), [*plan(["x"], [SCENARIO], scale=2), *plan(["y"], [SCENARIO], scale=2)]
    jobs = [FarmJob(n, batches[n % 2], [NAME]) for n in range(6)]
    for job in jobs:
        queue.add(job)
    assert queue.tags() == ["x", "y"]
    assert [job.number for job in queue.take("x", 2)] == [0, 2]
    queue.remove(jobs[3])
    assert [job.number for job in queue] == [4, 1, 5]
    assert len(queue) == 3
    assert [job.number for job in queue.take("x", 9)] == [4]
    assert queue.tags() == ["y"]


def test_the_ledgers_rows_are_in_order_and_refer_to_the_first(store: Store) -> None:
    heard, batches = Heard(), plan(["good"], [SCENARIO], repeats=2, scale=2)
    with open_journal(None) as journal:
        ledger = Results(store, Contents([NAME]), heard, journal)
        for n in (1, 0):
            ledger.keep(FarmJob(n, batches[n], [NAME]), NAME, measurement(f"d{n}", ms=5 + n))
        rows = ledger.rows(batches, [NAME])
    assert [(row.device, row.p50_ms) for row in rows] == [("d0", 5), ("d1", 6)]


class Answers:
    """A runner that answers as it is told."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {}
        self.killed: list[str] = []
        self.station: ServedDevice | None = None

    def run(self, job: Any, device: Any, seconds: float, id: str) -> dict[str, Any]:
        assert self.station is not None
        assert self.station.busy
        assert self.station.status()["running"] == NAME
        self.device, self.seconds = device, seconds
        return dict(self.answer)

    def kill(self, id: str) -> None:
        self.killed.append(id)


JOB = {"artifacts": [{"name": NAME}], "seconds": 7.0, "blame": True}


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServedDevice:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    runner = Answers()
    runner.station = ServedDevice(DeviceEntry(uri="fake://orin"), FARM, runner)  # type: ignore[arg-type]
    return runner.station


def answer(station: ServedDevice, **told: Any) -> dict[str, Any]:
    station._runner.answer = told  # type: ignore[attr-defined]
    return station.run(JOB | told.pop("job", {}))


def faulty(fault: str | None) -> dict[str, Any]:
    return {"outcome": "done", "results": [{"fault": fault, "reason": "lost"}]}


def test_a_station_signs_its_answers_and_counts_its_jobs(station: ServedDevice) -> None:
    told = answer(station, **faulty(None))
    assert (told["name"], told["outcome"]) == ("orin", "done")
    assert told["seconds"] >= 0
    assert told["status"] == {"state": "ready", "reason": "", "in_a_row": 0, "done": 1}
    assert station._runner.seconds == 7.0  # type: ignore[attr-defined]
    assert station._runner.device["uri"] == "fake://orin"  # type: ignore[attr-defined]
    assert not station.busy
    answer(station, outcome="wrong", reason="no such file")
    assert station.status()["done"] == 2  # it did its part


@pytest.mark.parametrize(
    ("told", "counted"),
    [
        (faulty("device"), True),
        ({"outcome": "failed", "reason": "refused"}, True),
        ({"outcome": "hung", "reason": "late"}, True),
        (faulty("job"), False),
        ({"outcome": "busy", "reason": "reserved"}, False),
        ({"outcome": "died", "reason": "killed"}, False),
        ({"outcome": "missing", "files": ["x"]}, False),
    ],
)
def test_whose_fault_it_was(station: ServedDevice, told: dict[str, Any], counted: bool) -> None:
    for n in (1, 2):
        answer(station, **told)
        assert station.state.in_a_row == (n if counted else 0)
        assert station.ready
    answer(station, **told)
    assert station.ready is not counted
    assert answer(station, **faulty(None))["outcome"] == ("refused" if counted else "done")


def test_a_success_ends_the_row_and_its_own_death_does_not(station: ServedDevice) -> None:
    answer(station, **faulty("device"))
    answer(station, **faulty("device"))
    answer(station, outcome="died", reason="killed")
    assert station.state.in_a_row == 2
    answer(station, **faulty(None))
    assert station.state.in_a_row == 0
    for _ in range(2):
        answer(station, **faulty("device"))
    assert station.ready


def test_a_job_that_hung_elsewhere_is_not_held_against_a_device(station: ServedDevice) -> None:
    for _ in range(5):
        station._runner.answer = {"outcome": "hung", "reason": "late"}  # type: ignore[attr-defined]
        station.run(JOB | {"blame": False})
    assert (station.state.in_a_row, station.ready) == (0, True)


def test_one_that_is_set_aside_does_nothing_until_it_is_back(station: ServedDevice) -> None:
    station.order("quarantined", "battery swells")
    told = answer(station, **faulty(None))
    assert (told["outcome"], told["reason"]) == ("refused", "battery swells")
    assert station.state.done == 0
    station.order("ready", "")
    assert answer(station, **faulty(None))["outcome"] == "done"
    twin = ServedDevice(station.entry, FARM, station._runner)
    assert twin.state == station.state  # on disk
