"""A campaign's rules, with a farm that the test makes up: who gets what, when, and what ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.benchmarking.measuring.journal import open_journal
from srdeploy.benchmarking.measuring.plan import plan
from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm import client as module
from srdeploy.farm import task
from srdeploy.farm.client import FarmClient, FarmOptions
from srdeploy.farm.fleet import LiveDevice
from srdeploy.farm.jobs import FarmJob
from srdeploy.farm.network import Unreachable
from srdeploy.farm.settings import FarmFile
from srdeploy.measure.store import Store
from tests.farm.test_accounting import NAME, SCENARIO, Heard, live, measurement

FARM = FarmFile(scheduler="nowhere", patience_seconds=0.2)


class Farm:
    """Devices, what they answer to a job, and everything that was asked of them."""

    def __init__(self, *devices: LiveDevice) -> None:
        self.devices = list(devices)
        self.client = self
        self.up = True
        self.young = False
        self.handed: list[dict[str, Any]] = []
        self.sent: list[tuple[str, list[str]]] = []
        self.answers: Callable[[dict[str, Any]], dict[str, Any]] = self.done
        self.cancelled: list[str] = []
        self.refuses_files = False

    async def fleet(self) -> list[LiveDevice]:
        return list(self.devices)

    async def settled(self, fits: Any) -> list[LiveDevice]:
        self.fits = fits(self.devices)
        return list(self.devices)

    async def send(self, packed: Any, digests: Any, device: LiveDevice) -> int:
        if self.refuses_files:
            raise SrdeployError(f"{device.name} has no room.")
        self.sent.append((device.name, list(digests)))
        return 0

    def submit(self, function: Any, job: dict[str, Any], **how: Any) -> Any:
        assert function is task.measure
        self.handed.append({"job": job, **how})
        return Future(self, self.handed[-1])

    def where(self, how: dict[str, Any]) -> str:
        addresses = how["workers"] or [one.address for one in self.devices if one.ready]
        return str(addresses[0]).removeprefix("tls://")

    def answer(self, how: dict[str, Any], outcome: str, **more: Any) -> dict[str, Any]:
        status = {"state": "ready", "reason": ""}
        told = {"name": self.where(how), "outcome": outcome, "status": status, "seconds": 1.0}
        return {**told, "reason": outcome, **more}

    def done(self, how: dict[str, Any]) -> dict[str, Any]:
        results = [
            {"name": one["name"], "fault": None, "reason": "",
             "measurement": measurement(self.where(how)).model_dump(mode="json")}
            for one in how["job"]["artifacts"]
        ]  # fmt: skip
        return self.answer(how, "done", results=results)


class Future:
    def __init__(self, farm: Farm, how: dict[str, Any]) -> None:
        self.farm, self.how = farm, how

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        while (answer := self.farm.answers(self.how)) is None:
            yield from asyncio.sleep(0.01).__await__()
        return answer

    async def cancel(self) -> None:
        self.farm.cancelled.append(self.how["key"])


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TICK_SECONDS", 0.01)
    monkeypatch.setattr(module, "_FLEET_SECONDS", 0.02)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "results.sqlite") as one:
        yield one


class Run:
    """A campaign on a made-up farm."""

    def __init__(
        self, farm: Farm, store: Store, monkeypatch: pytest.MonkeyPatch, *, repeats: int = 1,
        tags: tuple[str, ...] = ("good",), artifacts: tuple[str, ...] = (NAME,), **asked: Any,
    ) -> None:  # fmt: skip
        self.farm, self.heard = farm, Heard()
        self.batches = plan(list(tags), [SCENARIO], repeats=repeats, scale=2)
        with open_journal(None) as journal:
            self.campaign = FarmClient(
                FARM, artifacts, self.batches, store, self.heard, journal, FarmOptions(**asked)
            )
        self.connections = 0

        @asynccontextmanager
        async def connect(settings: FarmFile) -> AsyncIterator[Any]:
            assert settings is FARM
            self.connections += 1
            yield farm

        monkeypatch.setattr(module, "connect", connect)

    def __call__(self) -> list[Any]:
        return asyncio.run(asyncio.wait_for(self.campaign.run(), 20))


def test_jobs_are_handed_out_with_what_they_need(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = Farm(live("a", "good"), live("b", "other"))
    run = Run(farm, store, monkeypatch, repeats=3, job_seconds=77.0)
    rows = run()
    assert [(row.device, row.repeat, row.error) for row in rows] == [("a", 0, None)] * 3
    assert len(farm.handed) == 3
    assert len({how["key"] for how in farm.handed}) == 3
    for number, how in enumerate(sorted(farm.handed, key=lambda how: how["job"]["repeat"])):
        assert how["key"].startswith(f"srdeploy-{number}-1-")
        assert how["resources"] == {"device": 1, "tag good": 1}
        assert (how["workers"], how["pure"]) == (None, False)
        assert (how["job"]["seconds"], how["job"]["repeat"]) == (77.0, number)
    assert farm.fits
    assert [name for name, _ in farm.sent] == ["a"]  # and nothing to the other host's device
    assert farm.sent[0][1]
    assert len(store) == 3
    again = Run(farm, store, monkeypatch, repeats=3)
    assert len(again()) == 3
    assert (again.connections, len(farm.handed)) == (0, 3)  # all of it was stored
    assert again.heard.rows == [("a", True, None)] * 3


def test_defaults() -> None:
    assert FarmOptions() == FarmOptions(job_seconds=3600.0, apart=False)


def test_artifacts_apart(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for apart, jobs in ((True, 2), (False, 1)):
        farm = Farm(live("a", f"t{apart}"))
        Run(
            farm,
            store,
            monkeypatch,
            artifacts=(NAME, "edsr-s-x3"),
            tags=(f"t{apart}",),
            apart=apart,
        )()
        assert len(farm.handed) == jobs


def test_what_failed_goes_to_the_others_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = Farm(live("a", "good"), live("b", "good"))
    farm.answers = lambda how: (
        farm.answer(how, "failed") if farm.where(how) == "a" else farm.done(how)
    )
    run = Run(farm, store, monkeypatch)
    (row,) = run()
    assert (row.device, row.error) == ("b", None)
    assert [how["workers"] for how in farm.handed] == [None, ["tls://b"]]
    assert [how["key"].split("-")[2] for how in farm.handed] == ["1", "2"]
    assert f"a failed {NAME}: failed" in run.heard.sentences


def test_contents_that_are_missing_are_sent_to_who_asked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = Farm(live("a", "good"))
    farm.answers = lambda how: (
        farm.answer(how, "missing", files=["x", "y"]) if len(farm.handed) == 1 else farm.done(how)
    )
    (row,) = Run(farm, store, monkeypatch)()
    assert row.error is None
    assert farm.sent[-1] == ("a", ["x", "y"])


def test_a_host_without_room_is_told_and_its_jobs_are_given_up_in_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = Farm(live("a", "good"))
    farm.refuses_files = True
    farm.answers = lambda how: farm.answer(how, "missing", files=["x"])
    run = Run(farm, store, monkeypatch)
    (row,) = run()
    assert "it was lost 20 times (a has no room.)" in str(row.error)
    assert run.heard.sentences[0] == "a has no room."
    assert len(farm.handed) == 20


def test_a_broken_answer_is_a_lost_job(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm(live("a", "good"))

    def broken(how: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("garbled")

    farm.answers = broken
    (row,) = Run(farm, store, monkeypatch)()
    assert "it was lost 20 times (ValueError: garbled)" in str(row.error)


def test_a_tag_without_a_device_is_told_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="did you mean 'good'"):
        Run(Farm(live("a", "good")), store, monkeypatch, tags=("goood",))()
    aside = live("a", "good", state="drained")
    with pytest.raises(UserError, match="takes jobs: a is drained"):
        Run(Farm(aside), store, monkeypatch)()


def test_a_kind_that_goes_away_is_waited_for_and_then_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = Farm(live("a", "good"), live("b", "other"))

    def leave(how: dict[str, Any]) -> Any:
        farm.devices = [live("b", "other")]
        return None

    farm.answers = leave
    began = time.monotonic()
    (row,) = Run(farm, store, monkeypatch)()
    assert "No device 'good' of the farm is connected." in str(row.error)
    assert time.monotonic() - began >= FARM.patience_seconds
    assert farm.cancelled == [farm.handed[0]["key"]]


def test_when_all_have_failed_it_nobody_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = Farm(live("a", "good"), live("b", "good", state="quarantined"))
    farm.answers = lambda how: farm.answer(how, "failed", reason="broken")
    run = Run(farm, store, monkeypatch)
    (row,) = run()
    assert "a: broken" in str(row.error)
    assert run.heard.sentences.count("b is quarantined: ") == 1


def test_a_lost_scheduler_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm(live("a", "good"))

    def lose(how: dict[str, Any]) -> Any:
        farm.up = False
        farm.answers = farm.done
        return None

    farm.answers = lose
    run = Run(farm, store, monkeypatch)

    @asynccontextmanager
    async def connect(settings: FarmFile) -> AsyncIterator[Any]:
        run.connections += 1
        if run.connections == 2:
            raise Unreachable("Nobody answers")
        farm.up = True
        yield farm

    monkeypatch.setattr(module, "connect", connect)
    run.campaign._farm = FARM.model_copy(update={"patience_seconds": 30.0})
    (row,) = run()
    assert row.error is None
    assert run.connections == 3
    assert any("The scheduler is lost; waiting for it (" in s for s in run.heard.sentences)


def test_one_that_stays_away_ends_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = Farm(live("a", "good"))

    def lose(how: dict[str, Any]) -> Any:
        farm.up = False
        return farm.done(how)

    farm.answers = lose
    run = Run(farm, store, monkeypatch, repeats=2)

    async def soon(seconds: float) -> None:
        await real(min(seconds, 0.05))

    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", soon)

    @asynccontextmanager
    async def connect(settings: FarmFile) -> AsyncIterator[Any]:
        run.connections += 1
        if run.connections > 1:
            raise Unreachable("Nobody answers")
        yield farm

    monkeypatch.setattr(module, "connect", connect)
    with pytest.raises(SrdeployError) as caught:
        run()
    assert not isinstance(caught.value, Unreachable)
    assert "was not back within 0.2 s; 1 results are in '" in str(caught.value)
    assert str(caught.value).endswith("repeat the command to go on.")


def test_one_that_was_never_there_is_no_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(Farm(live("a", "good")), store, monkeypatch)

    @asynccontextmanager
    async def connect(settings: FarmFile) -> AsyncIterator[Any]:
        raise Unreachable("Nobody answers")
        yield

    monkeypatch.setattr(module, "connect", connect)
    with pytest.raises(Unreachable):
        run()
    assert run.heard.sentences == []


def jobs(run: Run, *tags: str) -> list[FarmJob]:
    made = [FarmJob(n, plan([tag], [SCENARIO], scale=2)[0], [NAME]) for n, tag in enumerate(tags)]
    for job in made:
        run.campaign._todo.add(job)
    return made


@pytest.mark.parametrize(
    ("usual", "started"), [(4.99, 20), (5.0, 11), (60.0, 11), (float("inf"), 11)]
)
def test_short_jobs_are_handed_out_twice_over(
    usual: float, started: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two per device below 5 s; else a tenth more than there are devices."""
    devices = [live(f"d{n}", "good") for n in range(10)]
    run = Run(Farm(), store, monkeypatch)
    run.campaign._fleet = [*devices, live("x", "good", state="drained")]
    run.campaign._usual_seconds = usual
    jobs(run, *["good"] * 30)
    assert len(run.campaign._startable([])) == started


def test_room_is_counted_by_tag_name_and_kind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(Farm(), store, monkeypatch)
    run.campaign._fleet = [live("a", "good"), live("b", "good", "fine")]
    jobs(run, *["good"] * 4, *["fine"] * 4, *["a"] * 4, *["fake"] * 4, *["none"] * 4)
    handed = [job.tag for job in run.campaign._startable([])]
    assert {tag: handed.count(tag) for tag in set(handed)} == {
        "good": 2,
        "fine": 1,
        "a": 1,
        "fake": 2,
    }


def test_how_long_jobs_usually_take(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(Farm(), store, monkeypatch)
    run.campaign._fleet = [live("a", "good")]
    (job,) = run.campaign._jobs
    told = {
        "name": "a",
        "status": {"state": "ready", "reason": ""},
        "outcome": "done",
        "results": [],
    }
    for seconds, usual in ((10.0, 10.0), (20.0, 12.0), (2.0, 10.0)):
        answer = told | {"seconds": seconds}
        asyncio.run(run.campaign._hear(SimpleNamespace(), job, answer))  # type: ignore[arg-type]
        assert run.campaign._usual_seconds == pytest.approx(usual)


def test_nothing_is_given_up_before_the_fleet_is_known(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(Farm(), store, monkeypatch)
    (job,) = jobs(run, "good")
    job.failed_on = {"a": "fell"}
    run.campaign._fleet = [live("a", "good")]
    run.campaign._give_up_hopeless({})
    assert len(run.campaign._todo) == 1  # a young scheduler may not know all yet
    run.campaign._settled = True
    run.campaign._give_up_hopeless({})
    assert len(run.campaign._todo) == 0
    assert "a: fell" in str(run.heard.rows[-1][2])


def test_a_job_that_nobody_may_get_is_called_back_unless_it_is_being_measured(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(Farm(), store, monkeypatch)
    (job,) = run.campaign._jobs
    job.failed_on = {"a": "fell"}
    run.campaign._settled = True

    class Attempt:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    for running, called in (("x", False), (None, True)):
        attempt = Attempt()
        run.campaign._fleet = [live("a", "good", running=running)]
        run.campaign._give_up_hopeless({attempt: job})  # type: ignore[dict-item]
        assert attempt.cancelled is called
    unblamed = Attempt()
    job.failed_on = {}
    run.campaign._give_up_hopeless({unblamed: job})  # type: ignore[dict-item]
    assert not unblamed.cancelled


@pytest.mark.parametrize("young", [False, True])
def test_a_young_schedulers_fleet_is_not_taken_for_all_there_is(
    young: bool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    farm = Farm(live("a", "good"))
    farm.young = young
    run = Run(farm, store, monkeypatch)
    run()
    assert run.campaign._settled is not young
