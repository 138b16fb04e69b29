"""What Dask is let do: the farm's own calls, encrypted, with the farm's certificates."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

from distributed import Client
from distributed.comm import connect as dial
from distributed.core import rpc
from distributed.diagnostics.plugin import SchedulerPlugin

from srdeploy.farm.certificates import issue
from srdeploy.farm.network import SCHEDULER_CALLS, WORKER_CALLS, open_farm, refused, security
from srdeploy.farm.scheduler import scheduler_class
from srdeploy.farm.settings import FarmFile


@pytest.fixture
def farms(tmp_path: Path) -> dict[str, FarmFile]:
    issue(tmp_path, ["scheduler", "worker"], "127.0.0.1:8786")
    return {name: open_farm(tmp_path / name)[0] for name in ("scheduler", "worker")}


async def _scheduler(farm: FarmFile, **options: Any) -> Any:
    settings: dict[str, Any] = {"host": "127.0.0.1", "port": 0, "protocol": "tls"}
    settings |= {"security": security(farm), "dashboard": False}
    return await scheduler_class()(**settings | options)


class _Plugin(SchedulerPlugin):
    pass


CALLS = {
    "run_function": {"function": b""},
    "feed": {"function": b"", "setup": b"", "teardown": b"", "interval": "1s"},
    "register_scheduler_plugin": {"plugin": b"", "name": "x", "idempotent": False},
    "workers_to_close": {"key": b"cos\nsystem\n(S'exit 0'\ntR."},
    "terminate": {},
    "restart": {},
    "dump_cluster_state_to_url": {"url": "/tmp/x"},
}


def test_a_workers_certificate_runs_nothing_on_the_scheduler(farms: dict[str, FarmFile]) -> None:
    ran: list[str] = []

    async def attempt() -> None:
        scheduler = await _scheduler(farms["scheduler"])
        try:
            mine = security(farms["worker"])
            client = await Client(
                scheduler.address, security=mine, asynchronous=True, set_as_default=False
            )
            with pytest.raises(ValueError, match="explicitly disallowed"):
                await client.run_on_scheduler(ran.append, "ran")
            with pytest.raises(ValueError, match="explicitly disallowed"):
                await client.register_plugin(_Plugin())
            await client.close()
            arguments = mine.get_connection_args("worker")
            for op, fields in CALLS.items():
                comm = await dial(scheduler.address, **arguments)
                await comm.write({"op": op, "reply": True, **fields})
                answer = await asyncio.wait_for(comm.read(), 10)
                assert "disallowed" in str(answer.get("exception-text") or answer), op
                await comm.close()
            async with rpc(scheduler.address, connection_args=arguments) as calls:
                assert (await calls.identity())["workers"] == {}  # the farm's own calls go on
        finally:
            await scheduler.close()

    asyncio.run(attempt())
    assert ran == []


def test_whatever_a_version_of_dask_adds_is_refused() -> None:
    assert refused(["identity", "run_anything"], SCHEDULER_CALLS) == ["run_anything"]
    assert "run_function" not in SCHEDULER_CALLS
    assert {"plugin-add", "actor_execute", "upload_file"}.isdisjoint(WORKER_CALLS)


def test_nothing_goes_unencrypted(farms: dict[str, FarmFile]) -> None:
    """Each end refuses plain connections, also where the other would take them."""

    async def attempt() -> None:
        with pytest.raises(RuntimeError, match="failed to start") as caught:
            await _scheduler(farms["scheduler"], protocol="tcp")
        assert "encryption required" in str(caught.value.__cause__)
        for role in ("scheduler", "worker", "client"):
            arguments = security(farms["worker"]).get_connection_args(role)
            with pytest.raises(RuntimeError, match="encryption required"):
                await dial("tcp://127.0.0.1:1", **arguments)
            assert arguments["require_encryption"] is True

    asyncio.run(attempt())


def test_old_versions_of_tls_are_refused(farms: dict[str, FarmFile]) -> None:
    mine = security(farms["worker"])
    for role in ("scheduler", "worker"):
        context = mine.get_listen_args(role)["ssl_context"]
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
