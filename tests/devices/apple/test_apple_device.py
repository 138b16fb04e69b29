"""Core ML on an iPhone through a Mac, and on the Mac: coremltools' own tools, replayed below."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srdeploy.cli.main import run
from srdeploy.devices.apple.device import AppleDevice
from srdeploy.devices.errors import DeviceError, DeviceLost, DeviceRefused, DeviceUnfit
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Job
from srdeploy.errors import UserError
from srdeploy.exporting.coreml.export import export_coreml
from srdeploy.models.load import load_network
from srdeploy.testing.devices import (  # noqa: F401
    NETWORK,
    SHAPE,
    DeviceContract,
    onnx_artifact,
    small_set,
)
from tests.devices.apple.mac import PHONE, Mac
from tests.devices.ssh.loopback import require_openssh

pytest.importorskip("coremltools")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "net.mlpackage"
    export_coreml(load_network(NETWORK), path, sizes="24x16,16x24")
    return path


@pytest.fixture(scope="module")
def mac(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mac]:
    require_openssh()
    mac = Mac(tmp_path_factory.mktemp("mac"))
    yield mac
    mac.stop()


@pytest.fixture
def own_mac(tmp_path: Path) -> Iterator[Mac]:
    """One whose phone may be broken."""
    require_openssh()
    (tmp_path / "mac").mkdir()
    mac = Mac(tmp_path / "mac")
    yield mac
    mac.stop()


class AppleContract(DeviceContract):
    @pytest.fixture(scope="class")
    def device(self, uri: str) -> Iterator[AppleDevice]:
        with open_device(uri) as device:
            assert isinstance(device, AppleDevice)
            yield device

    @pytest.fixture
    def job(self, package: Path) -> Job:
        return Job(str(package), shapes=(SHAPE,))


class TestPhoneContract(AppleContract):
    @pytest.fixture(scope="class")
    def uri(self, mac: Mac) -> str:
        return mac.phone_uri

    def test_its_facts_are_the_phones(self, device: AppleDevice) -> None:
        facts = device.facts
        assert (facts.kind, facts.model, facts.arch) == ("apple", PHONE, "arm64")
        assert facts.os == "iphone 26.1 (23B85)"
        assert facts.extra["mac"].startswith("Mac15,3")

    def test_the_app_was_built_once(self, device: AppleDevice, mac: Mac) -> None:
        with open_device(f"{mac.phone_uri}&team=ABCDE12345") as again:
            assert again.facts == device.facts
        (build,) = (mac.phone / "xcodebuild.log").read_text().splitlines()
        assert "-scheme modelrunner" in build
        assert "-destination platform=iOS,id=00008130-000A" in build


class TestMacContract(AppleContract):
    @pytest.fixture(scope="class")
    def uri(self, mac: Mac) -> str:
        return mac.uri

    def test_its_facts_are_the_macs(self, device: AppleDevice) -> None:
        facts = device.facts
        assert (facts.model, facts.cpu, facts.memory_gb) == ("Mac15,3", "Apple M3", 17.2)


@pytest.mark.slow
def test_bench_converts_a_network(
    mac: Mac,
    small_set: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["bench", NETWORK, "--device", f"{mac.uri}&precision=fp16&units=cpu_and_ne"]
    command += ["--data", str(small_set), "--scale", "2", "--seconds", "0", "--runs", "2"]
    assert run([*command, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["runtime"] == "coreml"
    assert row["p50_ms"] > 0
    assert 22 < row["psnr_y"] < 60


@pytest.mark.slow  # coremltools looks for an answer 120 times before it gives up
def test_unplugged_in_the_middle(own_mac: Mac, package: Path) -> None:
    job = Job(str(package), shapes=(SHAPE,))
    with open_device(own_mac.phone_uri) as device, device.load(job) as model:
        model.prepare(np.zeros(SHAPE, np.float32), runs=0, seconds=0)
        threading.Timer(1, own_mac.trouble_with_the_phone, ("unplugged",)).start()
        with pytest.raises(DeviceLost, match=r"The device went away \(ERROR: .* not found"):
            model.turn(60)


@pytest.mark.parametrize(
    ("trouble", "kind", "sentence"),
    [
        ("unplugged", DeviceRefused, "'My iPhone' is disconnected; plug it in, unlock it"),
        ("no-developer-mode", DeviceRefused, "is not in developer mode; switch it on there"),
        (
            "unsigned",
            DeviceUnfit,
            r"could not build and sign .* \(exit code 65\); give your \?team",
        ),
    ],
)
def test_phones_that_cannot_be_used(
    own_mac: Mac, trouble: str, kind: type[DeviceError], sentence: str
) -> None:
    own_mac.trouble_with_the_phone(trouble)
    with pytest.raises(kind, match=sentence):
        open_device(own_mac.phone_uri).__enter__()


def test_another_phone(mac: Mac) -> None:
    with pytest.raises(DeviceRefused, match="no device 'Your iPad'; it knows 'My iPhone'"):
        open_device(f"{mac.uri}&device=Your iPad").__enter__()


def test_no_xcode(own_mac: Mac) -> None:
    own_mac.script("xcrun", "exit 72")
    with pytest.raises(DeviceUnfit, match="no devicectl; install Xcode 15"):
        open_device(own_mac.phone_uri).__enter__()


def test_pythons_that_will_not_do(own_mac: Mac) -> None:
    own_mac.script("bare", 'exec /usr/bin/python3 -I "$2"')
    with pytest.raises(DeviceUnfit, match=r"There is no coremltools in .*pip install coremltools"):
        open_device(f"apple://board?config={own_mac.config}&python={own_mac.bin}/bare").__enter__()
    with pytest.raises(DeviceUnfit, match=r"There is no such Python on 'board' .*\?python=PATH"):
        open_device(f"apple://board?config={own_mac.config}&python=/no/python").__enter__()


def test_artifacts_for_something_else(mac: Mac, onnx_artifact: Path, tmp_path: Path) -> None:  # noqa: F811
    images = tmp_path / "images.mlpackage"
    export_coreml(load_network(NETWORK), images, images=True, sizes="24x16")
    with open_device(mac.uri) as device:
        with pytest.raises(UserError, match="cannot become a Core ML package"):
            device.load(Job(str(onnx_artifact)))
        with pytest.raises(UserError, match="image ends"):
            device.load(Job(str(images)))
        with pytest.raises(UserError, match="no runtime of apple devices named 'ncnn'"):
            device.load(Job("edsr-s-x2", runtime="ncnn"))


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("apple", "names no Mac"),
        ("apple://mac?units=ane", "units of Core ML named 'ane'"),
        ("apple://mac?precision=int8", "precision of Core ML named 'int8'"),
    ],
)
def test_bad_uris(uri: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        open_device(uri)
