"""A device's worker as Dask sees it, and how a host's workers begin and end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed")

from srdeploy.farm import worker as module
from srdeploy.farm.network import WORKER_CALLS
from srdeploy.farm.settings import DeviceEntry, FarmFile
from srdeploy.farm.worker import _until_told, _worker_class, serve

FARM = FarmFile(scheduler="lab:99")
ENTRY = DeviceEntry(uri="fake://desk", tags=("a",))


class Base:
    """Dask's worker, which only notes what it is told."""

    handlers = {"identity": 1, "run": 2, "compute": 3}

    def __init__(self, *words: Any, **named: Any) -> None:
        self.words, self.named = words, named
        self.told: list[Any] = []
        self.contact_address = "tls://me"
        self.state = SimpleNamespace(total_resources={"device": 1, "tag a": 1})
        self.scheduler = self

    async def start_unsafe(self) -> str:
        return "started"

    async def set_resources(self, **what: Any) -> None:
        self.told.append(what)

    async def heartbeat(self) -> None:
        self.told.append("heartbeat")

    async def close(self, *words: Any, **named: Any) -> Any:
        self.told.append(("close", words, named))
        return "closed"


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("distributed.Worker", Base)
    monkeypatch.setattr(module, "security", lambda farm: "secure")
    station = SimpleNamespace(
        entry=ENTRY, ready=True, card=lambda: "card", status=lambda: "status", stopped=0
    )
    station.stop = lambda: setattr(station, "stopped", station.stopped + 1)
    return _worker_class()(FARM, station, "10.0.0.7", "/scratch")


def test_what_dask_is_told_of_a_device(worker: Any) -> None:
    named = worker.named
    told = {
        name: named.pop(name)["srdeploy"](worker) for name in ("startup_information", "metrics")
    }
    assert told == {"startup_information": "card", "metrics": "status"}
    assert worker.words == ("tls://lab:99",)
    assert named == {
        "name": "desk", "nthreads": 1, "memory_limit": 0,
        "resources": {"device": 1, "tag desk": 1, "tag fake": 1, "tag a": 1},
        "security": "secure", "protocol": "tls", "host": "10.0.0.7", "dashboard": False,
        "local_directory": "/scratch", "heartbeat_interval": "5.0s",
    }  # fmt: skip
    assert worker.blocked_handlers == ["compute"]
    assert "run" in WORKER_CALLS


@pytest.mark.parametrize("ready", [True, False])
def test_a_device_set_aside_is_told_at_once(worker: Any, ready: bool) -> None:
    worker.station.ready = ready
    assert asyncio.run(worker.start_unsafe()) == "started"
    resources = {"device": int(ready), "tag a": 1}
    told = [{"worker": "tls://me", "resources": resources}, "heartbeat"]
    assert worker.told == ([] if ready else told)
    worker.told.clear()
    asyncio.run(worker.publish())
    assert worker.told == told


def test_the_job_ends_before_its_worker(worker: Any) -> None:
    assert asyncio.run(worker.close(1, timeout=2)) == "closed"
    assert worker.told == [("close", (1,), {"timeout": 2})]
    assert worker.station.stopped == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_them(number: signal.Signals) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(20)
        finally:
            ended.append("work")

    asyncio.run(asyncio.wait_for(_until_told(work()), 10))
    assert ended == ["work"]


class Runner:
    """A runner, which notes its beginning and its end."""

    told: list[str] = []

    def start(self) -> None:
        self.told.append("start")

    def close(self) -> None:
        self.told.append("close")


def test_a_hosts_devices_are_offered_together(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    monkeypatch.setattr(Runner, "told", [])
    monkeypatch.setattr(module, "RunnerProcess", Runner)
    kept: list[Any] = []

    async def keep(farm: Any, station: Any, listen: Any, scratch: str, said: Any) -> None:
        kept.append((farm, station.entry, listen, Path(scratch).is_dir()))
        try:
            if station.entry.called == "b":
                await asyncio.sleep(0.01)
                raise ValueError("name taken")
            await asyncio.sleep(20)
        finally:
            kept.append(f"{station.entry.called} ended")

    monkeypatch.setattr(module, "_keep", keep)
    entries = [DeviceEntry(uri=f"fake://{name}") for name in "abc"]
    with pytest.raises(ValueError, match="name taken"):
        asyncio.run(asyncio.wait_for(serve(FARM, entries, "10.0.0.7"), 10))
    assert kept[:3] == [(FARM, entry, "10.0.0.7", True) for entry in entries]
    assert set(kept[3:]) == {"a ended", "b ended", "c ended"}
    assert Runner.told == ["start", "close"]
