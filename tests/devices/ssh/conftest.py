"""Boards on loopback for the tests of the ssh device."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.devices.ssh.loopback import Loopback, require_openssh


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A Jetson-like host with TensorRT 10.3."""
    require_openssh()
    programs = ("trtexec", "tegrastats", "nvpmodel")
    host = Loopback(tmp_path_factory.mktemp("board"), programs=programs, version="100300")
    yield host
    host.stop()


@pytest.fixture(autouse=True)
def _no_trouble(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "board" in request.fixturenames:
        request.getfixturevalue("board").trouble("")
