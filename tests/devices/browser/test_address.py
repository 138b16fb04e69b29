"""Addresses that phones reach, and their pictures."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from srdeploy.devices.browser import address as module
from srdeploy.devices.browser.address import in_url, is_loopback, lan_address, qr_code
from srdeploy.errors import UserError


def test_loopback() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "::1")))
    assert not any(map(is_loopback, ("", "desk", "192.168.1.2")))


def test_hosts_in_urls() -> None:
    assert (in_url("desk"), in_url("fe80::1")) == ("desk", "[fe80::1]")


class Socket:
    """A socket whose route leads out by the address of its class, or nowhere."""

    address: str | None = "192.168.1.2"

    def __init__(self, family: int, kind: int) -> None:
        assert (family, kind) == (socket.AF_INET, socket.SOCK_DGRAM)

    def __enter__(self) -> Socket:
        return self

    def __exit__(self, *details: object) -> None: ...

    def connect(self, where: Any) -> None:
        assert where[0] == "192.0.2.1"
        if self.address is None:
            raise OSError("Network is unreachable")

    def getsockname(self) -> tuple[str | None, int]:
        return self.address, 5


def test_the_address_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.socket, "socket", Socket)
    assert lan_address() == "192.168.1.2"
    for address in ("127.0.0.1", "127.0.1.1", None):
        monkeypatch.setattr(Socket, "address", address)
        with pytest.raises(UserError, match="no address that a phone could reach; connect it"):
            lan_address()


def test_a_picture_for_cameras() -> None:
    pytest.importorskip("segno")
    lines = qr_code("12345").split("\n")
    # 21 modules with a border of 2 on each side, two of them to a line; no micro code, which few
    # cameras read.
    assert len(lines) == (21 + 2 * 2 + 1) // 2
    assert lines[-1] != ""
