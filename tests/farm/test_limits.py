"""Times and sizes of a farm, at their edges."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.farm import content_store, runner_process
from srdeploy.farm import job as jobs
from srdeploy.farm.certificates import issue
from srdeploy.farm.content_store import HostCache
from srdeploy.farm.job import exclusive
from srdeploy.farm.labgrid_place import Busy
from srdeploy.farm.link import SchedulerLink
from srdeploy.farm.network import Unreachable, probe
from srdeploy.farm.runner_process import RunnerProcess
from srdeploy.farm.settings import read_farm
from srdeploy.farm.state import DeviceState
from srdeploy.util.files import sha256
from tests.farm.test_accounting import live
from tests.farm.test_link import Client


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    return tmp_path / "farm"


def test_a_device_in_use_is_waited_for_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: 9.0 + sum(slept), sleep=slept.append)
    with exclusive("fake://a"):
        monkeypatch.setattr(jobs, "time", clock)
        with pytest.raises(Busy), exclusive("fake://a"):
            pass
    assert set(slept) == {0.02}
    assert sum(slept) == pytest.approx(30.0, abs=0.05)


def test_what_was_not_opened_for_thirty_days_goes(cache: Path) -> None:
    now = time.time()
    for name, days in (("new", 29.9), ("old", 30.1)):
        for folder in ("content/ab", "parcels", "incoming"):
            (cache / folder).mkdir(parents=True, exist_ok=True)
            (cache / folder / name).write_text(name)
            os.utime(cache / folder / name, (now - days * 86400,) * 2)
    HostCache().tidy()
    assert sorted({path.name for path in cache.rglob("*") if path.is_file()}) == ["new"]
    assert len(list(cache.rglob("new"))) == 3


def test_what_cannot_be_read_is_not_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host, content = HostCache(), cache.parent / "f"
    content.write_bytes(b"abc")
    digest = sha256(content)
    host.receive(digest, 0, b"abc", True, "me")
    assert host.lacking([digest]) == []

    def unreadable(path: Path) -> str:
        raise OSError("Input/output error")

    monkeypatch.setattr(content_store, "sha256", unreadable)
    assert host.lacking([digest]) == [digest]


@pytest.mark.parametrize(("size", "pieces"), [(1 << 21, 1), ((1 << 21) + 1, 2)])
def test_files_travel_in_pieces_of_two_mebibytes(tmp_path: Path, size: int, pieces: int) -> None:
    (tmp_path / "f").write_bytes(bytes(size))
    client = Client()
    client.lacking = ["x"]
    packed: Any = SimpleNamespace(sources={"x": tmp_path / "f"})
    assert asyncio.run(SchedulerLink(client).send(packed, ["x"], live("a"))) == size  # type: ignore
    assert len(client.calls) == 1 + pieces


def test_ten_failures_are_remembered() -> None:
    state = DeviceState()
    for number in range(12):
        state = state.failed(str(number), 100)
    assert [one.reason for one in state.failures] == [str(n) for n in range(2, 12)]


def test_a_scheduler_has_five_seconds_to_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cryptography")
    issue(tmp_path / "lab", ["a"], "127.0.0.1:1")
    limits: list[Any] = []

    def late(where: Any, timeout: float) -> None:
        limits.append((where, timeout))
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", late)
    with pytest.raises(Unreachable):
        probe(read_farm(tmp_path / "lab" / "a"))
    assert limits == [(("127.0.0.1", 1), 5.0)]


def test_a_runner_has_five_seconds_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    graces: list[float] = []
    real = runner_process.end_process

    def end(process: Any, grace: float) -> int:
        graces.append(grace)
        return real(process, grace)

    monkeypatch.setattr(runner_process, "end_process", end)
    monkeypatch.setattr(
        runner_process,
        "COMMAND",
        (sys.executable, "-c", "import sys; print(1, flush=True); input()"),
    )
    one = RunnerProcess()
    one.start()
    one.close()
    assert graces == [5.0]
