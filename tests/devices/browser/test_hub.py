"""One server for all who ask for the same place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tornado", reason="tornado is not installed: pip install 'srdeploy[browser]'")

from srdeploy.devices.browser import hub as module
from srdeploy.devices.browser.hub import ServerAddress, join, leave


class Server:
    """A server that only writes down what becomes of it."""

    made: list[Server] = []

    def __init__(self, *words: Any) -> None:
        self.words, self.told = words, []
        self.made.append(self)

    def start(self) -> None:
        self.told.append("start")

    def stop(self) -> None:
        self.told.append("stop")


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    monkeypatch.setattr(Server, "made", [])
    monkeypatch.setattr(module, "Server", Server)
    monkeypatch.setattr(module, "runtime_folder", lambda given: Path(given or "cache"))
    monkeypatch.setattr(module, "lan_address", lambda: "192.168.1.2")
    monkeypatch.setattr(module, "own_certificate", lambda host: f"own of {host}")
    monkeypatch.setattr(module, "given_certificate", lambda path, key: f"given {path} {key}")
    return Server.made


def place(host: str = "", cert: str = "", runtime: str | None = None) -> ServerAddress:
    return ServerAddress(host, 81, cert, "k", runtime, "token")


def test_the_last_one_stops_it(made: list[Server]) -> None:
    one, other = join(place(), print), join(place("desk"), print)
    assert (len(made), one is made[0], other is made[1]) == (2, True, True)  # type: ignore[comparison-overlap]
    for _ in range(2):
        assert join(place(), print) is one
    for _ in range(2):
        leave(place())
        assert made[0].told == ["start"]
    leave(place())
    assert made[0].told == ["start", "stop"]
    assert made[1].told == ["start"]
    assert join(place(), print) is made[2]
    leave(place())
    leave(place("desk"))
    assert [server.told for server in made] == [["start", "stop"]] * 3
    with pytest.raises(KeyError):
        leave(place())


@pytest.mark.parametrize(
    ("where", "host", "certificate"),
    [
        (place(), "192.168.1.2", "own of 192.168.1.2"),
        (place("desk"), "desk", "own of desk"),
        (place("localhost"), "localhost", None),
        (place("127.0.0.1"), "127.0.0.1", None),
        (place("desk", "c"), "desk", "given c k"),
        (place("localhost", "c"), "localhost", "given c k"),
    ],
)
def test_a_page_is_secure_wherever_others_reach_it(
    made: list[Server], where: ServerAddress, host: str, certificate: str | None
) -> None:
    join(where, print)
    leave(where)
    assert made[0].words == (host, 81, Path("cache"), certificate, print, "token")


def test_the_runtime_may_be_the_users(made: list[Server]) -> None:
    join(place(runtime="own"), print)
    leave(place(runtime="own"))
    assert made[0].words[2] == Path("own")
