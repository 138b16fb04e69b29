"""A machine without TensorRT behind a real sshd; the native runner is a stand-in."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Device
from srdeploy.testing.devices import (  # noqa: F401
    DeviceContract,
    onnx_artifact,
    small_set,
)
from tests.devices.ssh.loopback import REPLAY, Loopback, require_openssh


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    require_openssh()
    host = Loopback(tmp_path_factory.mktemp("machine"), programs=(), version="")
    yield host
    host.stop()


class TestSshNativeContract(DeviceContract):
    @pytest.fixture(scope="class")
    def uri(self, machine: Loopback) -> str:
        return machine.uri

    @pytest.fixture(scope="class")
    def device(self, uri: str) -> Iterator[Device]:
        with open_device(uri) as device:
            yield device

    @pytest.fixture(autouse=True)
    def _runner(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The seam where the runner's builder is: a script, and the ONNX file as its network."""
        runner = tmp_path / "srdeploy-runner"
        runner.write_text(f"#!{sys.executable}\n{(REPLAY / 'srdeploy-runner').read_text()}")

        def native_model(onnx: Path, eight_bits: object = None) -> tuple[Path, Path]:
            return Path(shutil.copy(onnx, tmp_path / "net.param")), runner

        module = types.ModuleType("srdeploy.devices.native_build")
        module.WITH_VULKAN = ()  # type: ignore[attr-defined]
        module.runner_binary = lambda arch, *, vulkan: runner  # type: ignore[attr-defined]
        module.native_model = native_model  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
