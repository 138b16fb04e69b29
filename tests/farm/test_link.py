"""The client's connection, with a scheduler that the test makes up."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.farm import link as module
from srdeploy.farm import task
from srdeploy.farm.content_store import CHUNK
from srdeploy.farm.link import GRACE_SECONDS, SchedulerLink
from srdeploy.farm.network import Unreachable
from tests.farm.test_accounting import FARM, live


class Client:
    """Answers what it is told, and writes down what it is asked."""

    def __init__(self, *names: str, age: float = 100.0) -> None:
        self.names, self.age = list(names), age
        self.status = "running"
        self.scheduler = self
        self.asked: list[Any] = []
        self.calls: list[Any] = []
        self.lacking: list[str] = []
        self.error: Exception | None = None

    async def identity(self, n_workers: int) -> dict[str, Any]:
        self.asked.append(n_workers)
        if self.error is not None:
            raise self.error
        card = {"kind": "fake", "uri": "fake://x", "tags": ["good"], "host": "h", "python": "3"}
        return {
            "started": time.time() - self.age,
            "workers": {
                f"tls://{n}": {"srdeploy": card | {"name": n}, "metrics": {}} for n in self.names
            },
        }

    async def run(self, function: Any, *arguments: Any, workers: list[str]) -> dict[str, Any]:
        self.calls.append((function, arguments, workers))
        if self.error is not None:
            raise self.error
        return {workers[0]: self.lacking if function is task.lacking else "answer"}


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Clocks that only sleeping moves."""
    slept: list[float] = []
    now = time.monotonic()
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    clock = SimpleNamespace(
        monotonic=lambda: now + sum(slept), time=lambda: time.time() + sum(slept)
    )
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return slept


def test_the_fleet_is_asked_for_whole() -> None:
    client = Client("b", "a")
    link = SchedulerLink(client)  # type: ignore[arg-type]
    assert link.up
    assert not link.young  # not asked yet
    assert [one.name for one in asyncio.run(link.fleet())] == ["a", "b"]
    assert client.asked == [-1]
    client.status = "closed"
    assert not link.up
    for error in (OSError("gone"), asyncio.TimeoutError()):
        client.error = error
        with pytest.raises(Unreachable, match="The farm's scheduler does not answer"):
            asyncio.run(link.fleet())


@pytest.mark.parametrize(("age", "young"), [(0, True), (14, True), (16, False), (-14, True)])
def test_a_scheduler_is_young_for_a_while(age: float, young: bool) -> None:
    assert GRACE_SECONDS == 15
    link = SchedulerLink(Client(age=age))  # type: ignore[arg-type]
    asyncio.run(link.fleet())
    assert link.young is young


def test_an_old_scheduler_is_believed_at_once(rests: list[float]) -> None:
    link = SchedulerLink(Client("a"))  # type: ignore[arg-type]
    assert len(asyncio.run(link.settled(lambda fleet: False))) == 1
    assert rests == []


def test_a_young_one_is_waited_for_until_it_is_calm(rests: list[float]) -> None:
    client = Client(age=0)
    link = SchedulerLink(client)  # type: ignore[arg-type]

    def fits(fleet: Any) -> bool:
        return bool(fleet)

    calm = asyncio.run(SchedulerLink(Client("a", age=0)).settled(fits))  # type: ignore[arg-type]
    assert len(calm) == 1
    assert sum(rests) == 2.5  # more than two seconds without a change
    rests.clear()
    assert asyncio.run(link.settled(fits)) == []  # in the end, even if they do not fit
    assert GRACE_SECONDS <= sum(rests) <= GRACE_SECONDS + 1


def test_a_new_device_begins_the_calm_anew(rests: list[float]) -> None:
    client = Client("a", age=0)

    def fits(fleet: Any) -> bool:
        return True

    real = client.identity

    async def growing(n_workers: int) -> dict[str, Any]:
        if len(client.asked) == 4:
            client.names.append("b")
        return await real(n_workers)

    client.identity = growing  # type: ignore[method-assign]
    assert len(asyncio.run(SchedulerLink(client).settled(fits))) == 2  # type: ignore[arg-type]
    assert sum(rests) == 4.5


def test_workers_are_asked_by_their_address() -> None:
    client = Client()
    link, device = SchedulerLink(client), live("a")  # type: ignore[arg-type]
    assert asyncio.run(link.ask(device, task.order, "ready", "why")) == "answer"
    assert client.calls == [(task.order, ("ready", "why"), ["tls://a"])]
    for error in (OSError("x"), KeyError("x"), RuntimeError("x"), ValueError("x"),
                  asyncio.TimeoutError("x")):  # fmt: skip
        client.error = error
        with pytest.raises(SrdeployError, match=r"^a's host does not answer \(\w+: '?x'?\)\.$"):
            asyncio.run(link.ask(device, task.order))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7])
def test_files_travel_in_pieces_and_once(size: int, tmp_path: Path) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "f").write_bytes(content[:size])
    client = Client()
    client.lacking = ["x"]
    link = SchedulerLink(client)  # type: ignore[arg-type]
    packed: Any = SimpleNamespace(sources={"x": tmp_path / "f"})
    assert asyncio.run(link.send(packed, ["x", "y", "x"], live("a"))) == size
    (function, arguments, _), *pieces = client.calls
    assert (function, arguments) == (task.lacking, (["x", "y"],))
    assert all(one[0] is task.receive for one in pieces)
    told = [one[1] for one in pieces]
    assert b"".join(piece[2] for piece in told) == content[:size]
    assert len(told) == max(1, -(-size // CHUNK))
    assert [piece[1] for piece in told] == [CHUNK * n for n in range(len(told))]
    assert [piece[3] for piece in told] == [False] * (len(told) - 1) + [True]
    assert {piece[4] for piece in told} == {told[0][4]}
    assert told[0][4].isalnum()
    client.lacking = []
    assert asyncio.run(SchedulerLink(client).send(packed, ["x"], live("a"))) == 0  # type: ignore[arg-type]


class Lab:
    """A link whose devices and orders are made up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ordered: list[Any] = []
        self.fleets = [[live("a", "good"), live("b", "good")]]
        self.waited = False

        @asynccontextmanager
        async def connect(farm: Any) -> Any:
            assert farm is FARM
            yield self

        monkeypatch.setattr(module, "connect", connect)

    async def fleet(self) -> Any:
        return self.fleets.pop(0) if len(self.fleets) > 1 else self.fleets[0]

    async def settled(self, fits: Any) -> Any:
        self.waited = True
        assert fits(self.fleets[0])
        return self.fleets[0]

    async def ask(self, device: Any, *what: Any) -> None:
        self.ordered.append((device.name, *what))


def test_devices_are_waited_for_where_some_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    assert [one.name for one in module.devices(FARM)] == ["a", "b"]
    assert not lab.waited
    assert len(module.devices(FARM, ["good"])) == 2
    assert lab.waited


def test_orders_go_to_those_that_are_meant(
    monkeypatch: pytest.MonkeyPatch, rests: list[float]
) -> None:
    lab = Lab(monkeypatch)
    found = module.order(FARM, ["b"], "drained", "moving")
    assert lab.ordered == [("b", task.order, "drained", "moving")]
    assert [one.name for one in found] == ["b"]
    with pytest.raises(UserError, match="at least one device"):
        module.order(FARM, [], "ready", "")
    busy = [live("a", "good"), live("b", "good", running="net")]
    lab.fleets = [busy, busy, busy, [live("a", "good", running="net"), live("b", "good")]]
    assert module.order(FARM, ["b"], "drained", "", wait=True)[0].running is None
    assert rests == [1, 1, 1]
    lab.fleets = [busy]
    assert module.order(FARM, ["b"], "drained", "")[0].running == "net"


def test_an_answer_may_take_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float] = []
    real = asyncio.wait_for

    async def wait_for(awaited: Any, timeout: float) -> Any:
        limits.append(timeout)
        return await real(awaited, timeout)

    monkeypatch.setattr(asyncio, "wait_for", wait_for)
    link = SchedulerLink(Client("a"))  # type: ignore[arg-type]
    asyncio.run(link.fleet())
    asyncio.run(link.ask(live("a"), task.order))
    assert limits == [60, 60]
