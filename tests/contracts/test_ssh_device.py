"""A board behind a real sshd, with replayed tools, keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Device
from srdeploy.testing.devices import (  # noqa: F401
    DeviceContract,
    onnx_artifact,
    small_set,
)
from tests.devices.ssh.loopback import Loopback, require_openssh


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    require_openssh()
    programs = ("trtexec", "tegrastats", "nvpmodel")
    host = Loopback(tmp_path_factory.mktemp("board"), programs=programs, version="100300")
    yield host
    host.stop()


class TestSshContract(DeviceContract):
    @pytest.fixture(scope="class")
    def uri(self, board: Loopback) -> str:
        return board.uri

    @pytest.fixture(scope="class")
    def device(self, uri: str) -> Iterator[Device]:
        with open_device(uri) as device:
            yield device
