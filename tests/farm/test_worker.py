"""What a host's workers offer, and what keeps them from beginning."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm import task, worker
from srdeploy.farm.settings import DeviceEntry, FarmFile
from srdeploy.farm.worker import all_tags, serve, tag_resource

FARM = FarmFile(scheduler="127.0.0.1:1")


def test_what_jobs_may_ask_for() -> None:
    entry = DeviceEntry(uri="fake://desk", tags=("a", "b"))
    assert all_tags(entry) == {"desk", "fake", "a", "b"}
    assert tag_resource("a") == "tag a"


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ([], "Name a device: --device URI"),
        ([DeviceEntry(uri="fkae://x")], "did you mean 'fake'"),
        ([DeviceEntry(uri="fake://x", labgrid="p")], "'x' has a labgrid place: say `labgrid: HOST"),
    ],
)
def test_wrong_devices_are_told_before_anything_starts(
    entries: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RunnerProcess", None)
    monkeypatch.setattr(worker, "require_labgrid", lambda: None)
    with pytest.raises(UserError, match=sentence):
        asyncio.run(serve(FARM, entries))


def test_labgrid_must_be_there_for_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UserError("no labgrid here")

    monkeypatch.setattr(worker, "require_labgrid", missing)
    with pytest.raises(UserError, match="no labgrid here"):
        asyncio.run(serve(FARM, [DeviceEntry(uri="fake://x", labgrid="p")]))


class Worker:
    """Ends at once, or fails as it is told."""

    made: list[Any]
    fails: list[Exception | None]
    closed = 0

    def __init__(self, *arguments: Any) -> None:
        self.made.append(arguments)

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        if (error := self.fails.pop(0)) is not None:
            raise error
        return self

    async def finished(self) -> None:
        return None

    async def close(self) -> None:
        type(self).closed += 1


def kept(
    monkeypatch: pytest.MonkeyPatch, *fails: Exception | None, listen: str | None = None
) -> Any:
    """Keep a worker until the answers are used up; what was said, and how it ended."""
    said: list[str] = []
    rests: list[float] = []
    made = type("Made", (Worker,), {"made": [], "fails": list(fails), "closed": 0})
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            rests.append(seconds)
            if not made.fails:  # type: ignore[attr-defined]
                raise asyncio.CancelledError
        await real(0)

    monkeypatch.setattr(worker, "_worker_class", lambda: made)
    monkeypatch.setattr(worker, "probe", lambda farm: None)
    monkeypatch.setattr(worker, "own_address", lambda farm: "own")
    monkeypatch.setattr(asyncio, "sleep", sleep)
    station: Any = SimpleNamespace(
        entry=DeviceEntry(uri="fake://desk"), state=SimpleNamespace(state="ready")
    )
    ended: BaseException | None = None
    try:
        asyncio.run(worker._keep(FARM, station, listen, "scratch", said.append))
    except (asyncio.CancelledError, UserError) as error:
        ended = error
    return SimpleNamespace(said=said, ended=ended, made=made, rests=rests)


def test_a_worker_that_ends_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = kept(monkeypatch, None, None)
    assert found.said == ["desk: ready at 127.0.0.1:1"] * 2
    assert found.made.closed == 2
    assert [arguments[2:] for arguments in found.made.made] == [("own", "scratch")] * 2
    assert found.rests == [1, 1]
    (arguments,) = kept(monkeypatch, None, listen="10.0.0.1").made.made
    assert arguments[2] == "10.0.0.1"


def test_waiting_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [OSError("a"), SrdeployError("b"), RuntimeError("c"), ValueError("d")]
    found = kept(monkeypatch, *errors, None, OSError("e"))
    assert found.said == [
        "desk: waiting for the scheduler (a)", "desk: ready at 127.0.0.1:1",
        "desk: waiting for the scheduler (e)",
    ]  # fmt: skip
    assert found.made.closed == 1


def test_what_waiting_does_not_mend_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = RuntimeError("failed")
    taken.__cause__ = ValueError("name taken, desk")
    for error in (ValueError("name taken, desk"), taken):
        found = kept(monkeypatch, error)
        assert str(found.ended) == (
            "The farm has a device 'desk' already; give this one another name."
        )
    found = kept(monkeypatch, UserError("not accepted"))
    assert str(found.ended) == "not accepted"
    assert found.said == []


class Station:
    def __init__(self) -> None:
        self.ready, self.ordered = True, []

    ordered: list[Any]

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        self.ready = job["leaves"]
        return {"outcome": "done"}

    def order(self, *what: Any) -> None:
        self.ordered.append(what)

    def status(self) -> dict[str, Any]:
        return {"state": "drained"}


def test_a_change_of_state_is_published_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    published: list[Any] = []
    one = SimpleNamespace(
        station=Station(), publish="publish", loop=SimpleNamespace(add_callback=published.append)
    )
    monkeypatch.setattr(distributed, "get_worker", lambda: one)
    assert task.measure({"leaves": True}) == {"outcome": "done"}
    assert published == []
    task.measure({"leaves": False})
    assert published == ["publish"]


def test_an_order_is_obeyed_published_and_answered() -> None:
    published: list[str] = []

    async def publish() -> None:
        published.append("now")

    one = SimpleNamespace(station=Station(), publish=publish)
    assert asyncio.run(task.order("drained", "moving", dask_worker=one)) == {"state": "drained"}
    assert (one.station.ordered, published) == ([("drained", "moving")], ["now"])
