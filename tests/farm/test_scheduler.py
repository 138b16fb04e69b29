"""The scheduler's address, and what it says where it cannot listen."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

from srdeploy.errors import UserError
from srdeploy.farm import scheduler as module
from srdeploy.farm.certificates import issue
from srdeploy.farm.network import SCHEDULER_CALLS, open_farm
from srdeploy.farm.settings import FarmFile


@pytest.fixture
def farm(tmp_path: Path) -> FarmFile:
    issue(tmp_path, ["a"], "127.0.0.1:8799")
    return open_farm(tmp_path / "a")[0]


class Made:
    """In place of Dask's scheduler."""

    asked: dict[str, Any]
    error: Exception | None = None
    address = "tls://somewhere"
    left = False

    def __call__(self, **options: Any) -> Made:
        self.asked = options
        return self

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        if self.error is not None:
            raise self.error
        return self

    async def __aenter__(self) -> Made:
        return self

    async def __aexit__(self, *details: object) -> None:
        self.left = True


def served(farm: FarmFile, made: Made, monkeypatch: pytest.MonkeyPatch, listen: Any = None) -> Any:
    monkeypatch.setattr(module, "scheduler_class", lambda: made)
    ready: list[str] = []

    def tell(where: str) -> None:
        ready.append(where)
        os.kill(os.getpid(), signal.SIGTERM)

    asyncio.run(asyncio.wait_for(module.serve(farm, listen, tell), 20))
    return ready


def test_it_listens_where_the_file_says_until_it_is_told_to_end(
    farm: FarmFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made()
    assert served(farm, made, monkeypatch) == ["tls://somewhere"]
    assert made.left
    secure = made.asked.pop("security")
    assert secure.require_encryption is True
    assert made.asked == {
        "host": "127.0.0.1", "port": 8799, "protocol": "tls", "dashboard": False,
    }  # fmt: skip
    served(farm, made, monkeypatch, "10.0.0.7:99")
    assert (made.asked["host"], made.asked["port"]) == ("10.0.0.7", 99)


@pytest.mark.parametrize(
    ("error", "cause", "reason"),
    [
        (RuntimeError("failed"), OSError(98, "Address in use"), "Address in use"),
        (OSError(99, "Cannot assign"), None, "Cannot assign"),
        (ValueError("odd"), None, "odd"),
    ],
)
def test_where_it_cannot_listen(
    error: Exception, cause: Exception | None, reason: str, farm: FarmFile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = Made()
    error.__cause__ = cause
    made.error = error
    with pytest.raises(UserError) as caught:
        served(farm, made, monkeypatch)
    assert str(caught.value) == f"The scheduler cannot listen on 127.0.0.1:8799 ({reason})."


def test_no_page_is_served_and_no_other_call_is_taken(farm: FarmFile) -> None:
    from srdeploy.farm.network import security

    async def look() -> None:
        one = await module.scheduler_class()(
            host="127.0.0.1", port=0, protocol="tls", security=security(farm), dashboard=False
        )
        try:
            assert set(one.handlers) - set(one.blocked_handlers) <= SCHEDULER_CALLS
            assert "run_function" in one.blocked_handlers
            assert one.http_application.default_router is not None
            assert one.http_server._sockets == {}  # nothing listens beside it
        finally:
            await one.close()

    asyncio.run(look())
