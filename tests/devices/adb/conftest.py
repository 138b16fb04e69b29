from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.devices.adb.stand import Stand

SSH_REPLAY = Path(__file__).parents[1] / "ssh" / "replay"


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """A client that answers from this machine, first on PATH."""
    return Stand(tmp_path / "stand", monkeypatch)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in place of the native runner, with the ONNX file for its network."""
    path = tmp_path / "srdeploy-runner"
    path.write_text(f"#!{sys.executable}\n{(SSH_REPLAY / 'srdeploy-runner').read_text()}")

    def native_model(onnx: Path, eight_bits: object = None) -> tuple[Path, Path]:
        return Path(shutil.copy(onnx, tmp_path / "net.param")), path

    monkeypatch.setattr("srdeploy.devices.native_build.runner_binary", lambda arch, *, vulkan: path)
    monkeypatch.setattr("srdeploy.devices.native_build.native_model", native_model)
    return path
