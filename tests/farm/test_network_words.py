"""Addresses, settings, and each way in which a scheduler cannot be reached."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

import dask

from srdeploy.errors import UserError
from srdeploy.farm import network as module
from srdeploy.farm.certificates import issue
from srdeploy.farm.network import (
    Unreachable,
    dask_address,
    open_farm,
    own_address,
    probe,
    security,
)
from srdeploy.farm.settings import FarmFile, read_farm


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    issue(tmp_path, ["a"], "127.0.0.1:1")
    return tmp_path / "a"


@pytest.mark.parametrize(
    ("text", "address"),
    [("lab", "tls://lab:8786"), ("10.0.0.7:99", "tls://10.0.0.7:99"), ("[::1]:99", "tls://[::1]:99"),
     ("[fe80::1]", "tls://[fe80::1]:8786")],
)  # fmt: skip
def test_addresses_as_dask_writes_them(text: str, address: str) -> None:
    assert dask_address(FarmFile(scheduler=text)) == address


def test_opening_sets_dask_up_and_hushes_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm, remark = open_farm(folder)
    assert (farm, remark) == (read_farm(folder), None)
    for name, value in (
        ("distributed.worker.memory.terminate", False), ("distributed.worker.memory.pause", False),
        ("distributed.worker.memory.spill", False), ("distributed.worker.memory.target", False),
        ("distributed.worker.profile.enabled", False), ("distributed.scheduler.http.routes", []),
        ("distributed.worker.http.routes", []), ("distributed.scheduler.allowed-failures", 20),
        ("distributed.admin.system-monitor.disk", False),
        ("distributed.admin.system-monitor.host-cpu", False),
        ("distributed.admin.system-monitor.gil.enabled", False),
    ):  # fmt: skip
        assert dask.config.get(name) == value, name
    for name in ("distributed", "tornado.application", "asyncio"):
        assert logging.getLogger(name).level == logging.CRITICAL
    monkeypatch.setattr(module.certificates, "check", lambda farm: "ends soon")
    assert open_farm(folder)[1] == "ends soon"


def test_every_role_shows_the_hosts_certificate(folder: Path) -> None:
    farm = read_farm(folder)
    made = security(farm)
    for role in ("scheduler", "worker", "client"):
        assert getattr(made, f"tls_{role}_cert") == str(farm.certificate)
        assert getattr(made, f"tls_{role}_key") == str(farm.key)
    assert made.tls_ca_file == str(farm.ca)
    assert made.require_encryption is True
    assert made.tls_min_version == ssl.TLSVersion.TLSv1_3


def served(answer: Callable[[socket.socket], None]) -> tuple[int, threading.Thread]:
    """A server for one connection on a port of loopback."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(20)

    def serve() -> None:
        with listening:
            connection, _ = listening.accept()
            with connection, suppress(OSError):  # the client judged it
                answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    return int(listening.getsockname()[1]), thread


def tls(folder: Path, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, say: bytes = b"x") -> Any:
    farm = read_farm(folder)

    def answer(connection: socket.socket) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(farm.ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = most
        context.load_cert_chain(farm.certificate, farm.key)
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.sendall(say)

    return answer


def outcome(folder: Path, answer: Any) -> str:
    port, thread = served(answer)
    farm = read_farm(folder).model_copy(update={"scheduler": f"127.0.0.1:{port}"})
    try:
        probe(farm, 20)
        return "in"
    except (UserError, Unreachable) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        thread.join()


def test_ones_own_scheduler_lets_one_in(folder: Path) -> None:
    assert outcome(folder, tls(folder)) == "in"


def test_one_that_hangs_up_is_not_there(folder: Path) -> None:
    told = outcome(folder, tls(folder, say=b""))
    assert told.startswith("Unreachable: Nobody answers at the farm's scheduler '127.0.0.1:")
    assert told.endswith("(it hung up); start it there: `srdeploy farm scheduler`.")


def test_old_tls_is_refused(folder: Path) -> None:
    told = outcome(folder, tls(folder, ssl.TLSVersion.TLSv1_2))
    assert told.startswith("UserError: The farm's scheduler '127.0.0.1:")
    assert "does not accept" in told


def test_plain_text_is_no_scheduler(folder: Path) -> None:
    told = outcome(folder, lambda connection: connection.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
    assert told.startswith(("UserError: The farm's scheduler", "Unreachable: Nobody answers"))


def test_another_authoritys_scheduler_is_not_trusted(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    issue(other, ["a"], "x")
    told = outcome(folder, tls(other / "a"))
    assert "shows a certificate that this host does not trust (" in told
    assert told.startswith("UserError: The farm's scheduler")


def test_nobody_and_no_such_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    farm = read_farm(folder)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    gone = farm.model_copy(update={"scheduler": f"127.0.0.1:{port}"})
    with pytest.raises(Unreachable, match=r"Nobody answers at .* \(Connection refused\); start it"):
        probe(gone, 5)

    def unknown(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "create_connection", unknown)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for ask in (probe, own_address):
        with pytest.raises(
            UserError, match=r"There is no host '127\.0\.0\.1'; correct 'scheduler'"
        ):
            ask(farm)

    def late(*arguments: Any, **options: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", late)
    with pytest.raises(Unreachable, match=r"\(TimeoutError\)"):
        probe(farm)


def test_one_listens_where_the_scheduler_is_reached_from() -> None:
    assert own_address(FarmFile(scheduler="127.0.0.1:9")) == "127.0.0.1"
