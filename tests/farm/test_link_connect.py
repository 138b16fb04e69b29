"""How the client connects to the scheduler, and how it leaves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("distributed")

from srdeploy.farm import link as module
from srdeploy.farm.link import connect
from srdeploy.farm.network import Unreachable
from srdeploy.farm.settings import FarmFile

FARM = FarmFile(scheduler="lab:99")


class Client:
    """Dask's client, which connects or does not."""

    asked: dict[str, Any] = {}
    fails: Exception | None = None
    leaving: Exception | None = None
    closed = 0

    def __init__(self, address: str, **options: Any) -> None:
        type(self).asked = {"address": address, **options}

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        if self.fails is not None:
            raise self.fails
        return self

    async def close(self) -> None:
        type(self).closed += 1
        if self.leaving is not None:
            raise self.leaving


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    made = type("Made", (Client,), {})
    monkeypatch.setattr("distributed.Client", made)
    monkeypatch.setattr(module, "probe", lambda farm: None)
    monkeypatch.setattr(module, "security", lambda farm: "secure")
    return made


def connected() -> Any:
    async def go() -> Any:
        async with connect(FARM) as link:
            return link.client

    return asyncio.run(go())


def test_it_connects_for_itself_alone(
    client: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    real = asyncio.wait_for

    async def wait_for(awaited: Any, timeout: float) -> Any:
        limits.append(timeout)
        return await real(awaited, timeout)

    monkeypatch.setattr(asyncio, "wait_for", wait_for)
    assert isinstance(connected(), client)
    assert client.asked == {
        "address": "tls://lab:99", "security": "secure", "asynchronous": True,
        "set_as_default": False, "timeout": 10.0, "direct_to_workers": False,
    }  # fmt: skip
    assert (client.closed, limits) == (1, [10])


@pytest.mark.parametrize("error", [OSError("down"), asyncio.TimeoutError("down")])
def test_nobody_answers(client: type[Client], error: Exception) -> None:
    client.fails = error
    with pytest.raises(Unreachable, match=r"The farm's scheduler does not answer \(down\)\."):
        connected()
    assert client.closed == 0


@pytest.mark.parametrize("error", [OSError(), asyncio.TimeoutError(), RuntimeError()])
def test_one_that_is_gone_may_be_left(client: type[Client], error: Exception) -> None:
    client.leaving = error
    connected()
    assert client.closed == 1
