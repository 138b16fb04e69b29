"""The adb device: the real client, the real adbd, Android's shell; a phone's services replayed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srdeploy.cli.main import run
from srdeploy.devices.errors import DeviceError, DeviceFull, DeviceLost, DeviceRefused, DeviceUnfit
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Device, Job, Turn
from srdeploy.devices.shell.native_model import NativeModel
from srdeploy.sparse.library import kernels_here
from srdeploy.testing.devices import (  # noqa: F401
    DeviceContract,
    onnx_artifact,
    small_set,
)
from tests.emulated.phone import PORTS, Phone, fetch_phone
from tests.emulated.runner import require_runner
from tests.emulated.smsr import check_smsr

pytestmark = pytest.mark.emulated

SHAPE = (1, 3, 24, 32)


@pytest.fixture(scope="module")
def phone(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Phone]:
    assert request.config.cache is not None
    packages = fetch_phone(request.config.cache.mkdir("srdeploy-emulated"))
    phone = Phone(packages, tmp_path_factory.mktemp("phone"))
    yield phone
    phone.stop()


@pytest.fixture(autouse=True)
def _client(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{phone.client}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)


@pytest.fixture
def uri(phone: Phone) -> str:
    return f"adb://{phone.serial(PORTS[0])}"


@pytest.fixture
def device(uri: str) -> Iterator[Device]:
    with open_device(uri) as device:
        yield device


class TestAdbContract(DeviceContract):
    @pytest.fixture
    def uri(self, phone: Phone) -> str:
        return f"adb://{phone.serial(PORTS[0])}"

    @pytest.fixture
    def job(self, onnx_artifact: Path) -> Job:  # noqa: F811
        require_runner("x86_64")
        return Job(str(onnx_artifact), shapes=(SHAPE,), threads=1)


def test_facts_and_sensors(device: Device) -> None:
    facts = device.facts
    assert (facts.model, facts.os, facts.arch) == ("Google Pixel 8", "Android 15", "x86_64")
    assert device.sensors is not None
    found = device.sensors.conditions()
    assert (found.thermal, found.battery_percent) == ("light", 81.0)
    assert found.temperatures_c["VIRTUAL-SKIN"] == 36.25
    with device.sensors.watch(0.1) as watch:
        while not watch.readings:
            pass
    assert watch.readings[0].power_w == {"battery": 3.0}


def test_several_and_none_named() -> None:
    with pytest.raises(DeviceRefused, match=r"Several .*6001.*6002.* name one"):
        open_device("adb").__enter__()


def test_no_such_serial() -> None:
    with pytest.raises(DeviceRefused, match="No Android device '8A1X' is attached; there is"):
        open_device("adb://8A1X").__enter__()
    with pytest.raises(DeviceRefused, match=r"No Android device '127.0.0.1:6009' is attached"):
        open_device("adb://127.0.0.1:6009").__enter__()


def test_unplugged_in_the_middle_of_a_command(phone: Phone) -> None:
    port = PORTS[1]
    with open_device(f"adb://{phone.serial(port)}") as device:
        assert device.commands is not None
        threading.Timer(1.0, phone.unplug, (port,)).start()
        with pytest.raises(DeviceLost, match="went away during 'sleep'"):
            device.commands.run(["sleep", "30"])


def test_a_hanging_command_is_ended(device: Device) -> None:
    assert device.commands is not None
    with pytest.raises(DeviceError, match=r"did not end .* within 1 s"):
        device.commands.run(["sleep", "30"], timeout=1)


def test_a_full_disk(uri: str, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(600_000))
    (tmp_path / "small").write_bytes(b"fits")
    with open_device(f"{uri}?dir=/data/small") as device:
        assert device.files is not None
        assert device.commands is not None
        with pytest.raises(DeviceFull, match=r"No space is left .* '/data/small'"):
            device.files.push(tmp_path / "big")
        left = device.commands.run(["find", "/data/small", "-type", "f"]).stdout
        assert left == ""
        assert device.files.push(tmp_path / "small").startswith("/data/small/files/")


def test_a_folder_that_may_not_be_written(uri: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"f")
    with open_device(f"{uri}?dir=/proc/nowhere") as device:
        assert device.files is not None
        with pytest.raises(DeviceError, match="was not written"):
            device.files.push(tmp_path / "f")


def test_another_architecture(phone: Phone, onnx_artifact: Path) -> None:  # noqa: F811
    phone.program("uname", "#!/bin/sh\necho riscv64\n")
    try:
        uri = f"adb://{phone.serial(PORTS[0])}"
        with open_device(uri) as device, pytest.raises(DeviceUnfit, match="is riscv64"):
            device.load(Job(str(onnx_artifact)))
    finally:
        (phone.root / "usr/bin/uname").unlink()
        (phone.root / "usr/bin/uname").symlink_to("toybox")


def test_lost_while_timing(phone: Phone, onnx_artifact: Path) -> None:  # noqa: F811
    require_runner("x86_64")
    port = PORTS[1]
    job = Job(str(onnx_artifact), shapes=(SHAPE,), threads=1)
    with open_device(f"adb://{phone.serial(port)}") as device, device.load(job) as model:
        model.prepare(np.zeros(SHAPE, np.float32), runs=0, seconds=0)
        threading.Timer(1.0, phone.unplug, (port,)).start()
        with pytest.raises(DeviceLost, match="went away"):
            model.turn(30)


def test_bench_on_both(
    phone: Phone,
    onnx_artifact: Path,  # noqa: F811
    small_set: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    require_runner("x86_64")
    devices = ",".join(f"adb://{phone.serial(port)}" for port in PORTS)
    command = ["bench", str(onnx_artifact), "--device", devices, "--input", "32x24"]
    command += ["--data", str(small_set), "--scale", "2", "--seconds", "0.2", "--json"]
    assert run(command) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["runtime"] for row in rows] == ["ncnn", "ncnn"]
    assert rows[0]["psnr_y"] == rows[1]["psnr_y"]


def test_bench_in_8_bits(uri: str, small_set: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    require_runner("x86_64")
    command = ["bench", "edsr-s-x2-p70", "--device", f"{uri}?precision=int8", "--input", "32x24"]
    command += ["--eval-data", str(small_set), "--seconds", "0.2", "--json"]
    assert run(command) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["runtime"], row["precision"]) == ("ncnn", "int8")
    assert row["psnr_y"] > 25


def test_bench_of_smsr_inside_its_masks(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_runner("x86_64")
    check_smsr(uri, tmp_path, capsys, kernels_here()[-1])


def test_unplugged_half_way_loses_nothing_that_was_finished(
    phone: Phone,
    onnx_artifact: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_runner("x86_64")
    port, store = PORTS[1], tmp_path / "s.sqlite"
    for name, seconds in (("short", 0.1), ("long", 6)):
        times = f"min_runs: 1\nmin_seconds: {seconds}\nturn_seconds: {seconds}\n"
        text = f"name: {name}\ninputs: 32x24\nquality: false\n{times}"
        (tmp_path / f"{name}.yaml").write_text(text)
    command = ["bench", str(onnx_artifact), "--device", f"adb://{phone.serial(port)}", "--json"]
    command += ["--scenario", f"{tmp_path}/short.yaml,{tmp_path}/long.yaml", "--store", str(store)]

    real, done = NativeModel.turn, []

    def turn(model: NativeModel, seconds: float) -> Turn:
        if seconds > 1 and not done:
            done.append(threading.Timer(1, phone.unplug, (port,)).start())
        return real(model, seconds)

    monkeypatch.setattr(NativeModel, "turn", turn)
    assert run(command) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["error"] is None
    assert "went away during" in second["error"]
    assert run(command) == 0
    again = json.loads(capsys.readouterr().out)
    assert again[0] == first  # as it was stored
    assert again[1]["n_samples"] > 0
