"""The adb device with a client that is a stand-in; the real ones are in tests/emulated."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from srdeploy.cli.main import run
from srdeploy.devices.errors import DeviceError, DeviceFull, DeviceLost, DeviceRefused, DeviceUnfit
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Job
from srdeploy.errors import UserError
from srdeploy.testing.devices import (  # noqa: F401
    DeviceContract,
    onnx_artifact,
    small_set,
)
from tests.devices.adb.stand import SERIAL, Stand

SHAPE = (1, 3, 12, 16)


class TestAdbContract(DeviceContract):
    @pytest.fixture
    def uri(self, stand: Stand, runner: Path) -> str:
        return stand.uri


def test_the_only_device_needs_no_serial(stand: Stand) -> None:
    with open_device("adb") as device:
        assert device.facts.model == "Google Pixel 8"
        assert device.sensors is not None
        assert device.sensors.conditions().thermal == "light"


def test_a_serial_of_the_environment(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.attach("other\tdevice", f"{SERIAL}\tdevice")
    with pytest.raises(DeviceRefused, match="Several"), open_device("adb"):
        pass
    monkeypatch.setenv("ANDROID_SERIAL", SERIAL)
    with open_device("adb") as device:
        assert device.facts.arch


def test_a_network_address_is_connected(stand: Stand) -> None:
    stand.attach()
    with open_device("adb://127.0.0.1:6001") as device:
        assert device.facts.model == "Google Pixel 8"


def test_battery_power_alongside(stand: Stand) -> None:
    with open_device(stand.uri) as device:
        assert device.sensors is not None
        with device.sensors.watch(0.01) as watch:
            while not watch.readings:
                pass
        assert watch.readings[0].power_w == {"battery": 3.0}
        assert device.sensors.total_rails == ("battery",)


@pytest.mark.parametrize("state", ["unauthorized", "offline", "no permissions (x)"])
def test_devices_that_cannot_be_used(stand: Stand, state: str) -> None:
    stand.attach(f"{SERIAL}\t{state}")
    with pytest.raises(DeviceRefused, match=f"'{SERIAL}' cannot be used"), open_device("adb"):
        pass


def test_a_server_that_does_not_start(stand: Stand) -> None:
    stand.trouble("server")
    with pytest.raises(DeviceRefused, match="cannot connect to daemon"), open_device("adb"):
        pass


def test_no_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="adb is not on PATH: install Android's platform-tools"):
        open_device("adb")


def test_options_are_checked(stand: Stand) -> None:
    with pytest.raises(UserError, match="fp16"):
        open_device("adb://x?precision=fp61")


def test_lost_in_the_middle(stand: Stand, runner: Path, onnx_artifact: Path) -> None:  # noqa: F811
    job = Job(str(onnx_artifact), shapes=(SHAPE,), threads=1)
    with open_device(stand.uri) as device, device.load(job) as model:
        model.prepare(np.zeros(SHAPE, np.float32), runs=0, seconds=0)
        stand.trouble("lost")
        with pytest.raises(DeviceLost, match=r"went away .* reconnect it"):
            model.turn(0.1)


@pytest.mark.parametrize(
    ("trouble", "kind", "sentence"),
    [("full", DeviceFull, "No space is left"), ("short", DeviceError, "was not written")],
)
def test_copies_that_fail_leave_nothing(
    stand: Stand, tmp_path: Path, trouble: str, kind: type, sentence: str
) -> None:
    (tmp_path / "f").write_bytes(b"x" * 5000)
    with open_device(stand.uri) as device:
        assert device.files is not None
        stand.trouble(trouble)
        with pytest.raises(kind, match=sentence):
            device.files.push(tmp_path / "f")
    assert not [path for path in (stand.folder / "phone").rglob("*") if path.is_file()]


def test_many_push_one_file_at_once(stand: Stand, tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(bytes(range(256)) * 4000)
    with open_device(stand.uri) as device, ThreadPoolExecutor(12) as pool:
        assert device.files is not None
        pushes = [pool.submit(device.files.push, source) for _ in range(12)]
        (path,) = {push.result() for push in pushes}
    assert Path(path).read_bytes() == source.read_bytes()
    assert list(Path(path).parent.iterdir()) == [Path(path)]


def test_a_damaged_file_is_not_believed_for_its_name(stand: Stand, tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(b"network")
    with open_device(stand.uri) as device:
        assert device.files is not None
        path = Path(device.files.push(source))
        path.write_bytes(b"netw0rk")
        assert device.files.push(source) == str(path)
    assert path.read_bytes() == b"network"


def test_another_architecture(stand: Stand, onnx_artifact: Path) -> None:  # noqa: F811
    stand.program("uname", "echo riscv64")
    with open_device(stand.uri) as device, pytest.raises(DeviceUnfit, match="is riscv64"):
        device.load(Job(str(onnx_artifact)))


def test_a_runtime_that_phones_have_not(stand: Stand, onnx_artifact: Path) -> None:  # noqa: F811
    with open_device(stand.uri) as device, pytest.raises(UserError, match="ncnn"):
        device.load(Job(str(onnx_artifact), runtime="tensorrt"))


def test_bench_end_to_end(
    stand: Stand,
    runner: Path,
    onnx_artifact: Path,  # noqa: F811
    small_set: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["bench", str(onnx_artifact), "--device", stand.uri, "--input", "24x16"]
    command += ["--data", str(small_set), "--scale", "2", "--seconds", "0.1", "--json"]
    assert run(command) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["runtime"] == "ncnn"
    assert 22 < row["psnr_y"] < 60
