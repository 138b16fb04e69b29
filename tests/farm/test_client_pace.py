"""How often a campaign looks at its devices and its jobs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.farm import client as module
from srdeploy.measure.store import Store
from tests.farm.test_accounting import live
from tests.farm.test_client import Farm, Run


class Clock:
    """Time that passes while jobs are waited for, or nothing is to be done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.waits, self.rests = 70.0, [], []
        self._wait, self._sleep = asyncio.wait, asyncio.sleep
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(asyncio, "wait", self.wait)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    waits: list[float]
    rests: list[float]

    async def wait(self, running: Any, *, timeout: float, return_when: Any) -> Any:
        self.waits.append(timeout)
        self.now += timeout
        return await self._wait(running, timeout=0.001, return_when=return_when)

    async def sleep(self, seconds: float) -> None:
        if seconds > 0.1:
            self.rests.append(seconds)
            self.now += seconds
        await self._sleep(min(seconds, 0.001))


def test_jobs_twice_a_second_and_devices_every_two_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    farm = Farm(live("a", "good"))
    looked: list[float] = []
    fleet = farm.fleet

    async def look() -> Any:
        looked.append(clock.now - 70.0)
        return await fleet()

    farm.fleet = look  # type: ignore[method-assign]
    farm.answers = lambda how: farm.done(how) if clock.now >= 76.0 else None  # type: ignore
    with Store.open(tmp_path / "results.sqlite") as store:
        (row,) = Run(farm, store, monkeypatch)()
    assert row.error is None
    assert set(clock.waits) == {0.5}
    assert looked == [2.5, 5.0]


def test_with_nobody_free_it_looks_again_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    farm = Farm(live("a", "good"))
    settled = farm.settled

    async def aside(fits: Any) -> Any:
        found = await settled(fits)
        farm.devices = [live("a", "good", "x")]
        return found

    farm.settled = aside  # type: ignore[method-assign]
    refusals = iter([True, False])
    status = {"state": "drained", "reason": "moving"}
    farm.answers = lambda how: (
        farm.answer(how, "refused", status=status) if next(refusals) else farm.done(how)
    )
    with Store.open(tmp_path / "results.sqlite") as store:
        (row,) = Run(farm, store, monkeypatch)()
    assert row.error is None
    assert set(clock.rests) == {0.5}
    assert 1 <= len(clock.rests) <= 5  # until the devices are looked at again
