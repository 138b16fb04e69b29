"""An Android device's own choices: folder, threads, how often it is asked and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.adb import device as module
from srdeploy.devices.adb.device import AdbDevice, AdbSensors, _reading
from srdeploy.devices.answers import Implausible
from srdeploy.devices.protocol import Job
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from srdeploy.measure.measurement import DeviceFacts, Reading
from tests.devices.shell.local_link import LocalLink

BATTERY = "  status: 3\n  level: 81\n  voltage: 4000\ncurrent_now: -750000\n"


class Connection(LocalLink):
    """A phone that says what it is told to."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.text = text
        self.asked: list[tuple[Any, ...]] = []

    def script(self, text: str, **more: Any) -> Any:
        self.asked.append((text, more))
        return super().script(f"cat <<'END'\n{self.text}\nEND")


def device(options: str = "", text: str = "") -> AdbDevice:
    found = AdbDevice(DeviceUri.parse(f"adb://8A1X{options}"))
    found._connection = Connection(text)  # type: ignore[assignment]
    return found


@pytest.mark.parametrize(
    ("uri", "serial"),
    [("adb", None), ("adb://8A1X", "8A1X"), ("adb://10.0.0.7:5555", "10.0.0.7:5555")],
)
def test_serials(uri: str, serial: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    one = AdbDevice(DeviceUri.parse(uri))
    assert (one.uri, one._connection._asked) == (uri, serial)


def test_folders() -> None:
    assert device().files.folder == "/data/local/tmp/srdeploy"
    assert device("?dir=/sdcard/x/").files.folder == "/sdcard/x"


def test_facts_are_asked_once() -> None:
    one = device(text="arch=aarch64\ncpus=8")
    assert (one.facts.arch, one.facts.cpus) == ("aarch64", 8)
    ((_, how),) = one._connection.asked  # type: ignore[attr-defined]
    assert how == {"timeout": 30, "what": "asking what it is"}
    with pytest.raises(Implausible, match="'board' answered what cannot be read"):
        device(text=f"cpus={'9' * 5000}").facts  # noqa: B018


def test_a_job_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_native", lambda *given: given)
    one = device("?precision=fp16")
    one._facts = DeviceFacts(kind="adb", model="x", arch="aarch64", cpus=8)
    for runtime in (None, "ncnn", "sparse"):
        job = Job("net", runtime=runtime)
        given, link, files, facts, precision = one.load(job)  # type: ignore[misc]
        assert (given, link, facts, precision) == (job, one._connection, one._facts, "fp16")
        assert files.folder == one.files.folder
    with pytest.raises(UserError, match="no runtime of adb devices named 'tensorrt'"):
        one.load(Job("net", runtime="tensorrt"))
    with pytest.raises(UserError, match=r"Android NDK alone has.*--runtime ncnn, .*browser"):
        one.load(Job("net", runtime="ncnn-vulkan"))


def test_tflite_files_go_to_benchmark_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_tflite", lambda *given, **more: (given, more))
    one = device("?benchmark_model=./bm&delegate=gpu")
    one._facts = DeviceFacts(kind="adb", model="x", arch="aarch64", cpus=8)
    for job in (Job("net.TFLITE"), Job("net.onnx", runtime="litert")):
        (given, *_), more = one.load(job)  # type: ignore[misc]
        assert given == job
        assert more == {"program": "./bm", "delegate": "gpu", "threads": 8}


def test_options() -> None:
    for options, sentence in (
        ("?precision=fp61", "no precision of the native runner named 'fp61'"),
        ("?delegate=npu", "no delegate of LiteRT named 'npu'"),
        ("?dirr=x", "no option of adb devices named 'dirr'"),
    ):
        with pytest.raises(UserError, match=sentence):
            device(options)


def test_conditions() -> None:
    connection = Connection(f"governor=x\npart=thermal\npart=battery\n{BATTERY}part=settings\n1")
    conditions = AdbSensors(connection).conditions()  # type: ignore[arg-type]
    assert (conditions.power_mode, conditions.battery_percent) == ("x, battery saver", 81.0)
    ((_, how),) = connection.asked
    assert how == {"timeout": 30, "what": "reading sensors"}


def test_a_phone_is_asked_every_two_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Watch:
        def __init__(self, *words: Any) -> None:
            made.append(words)

        def stop(self) -> None:
            made.append("stopped")

    monkeypatch.setattr(module, "ShellWatch", Watch)
    sensors = AdbSensors(connection := Connection())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="inside"), sensors.watch(0.5):
        ((link, source, seconds),) = made
        raise ValueError("inside")
    assert made[1:] == ["stopped"]
    assert (link, seconds, source.rails, source.blocks) == (connection, 0.5, ("battery",), True)
    assert "sleep 2;" in source.text(seconds)
    assert sensors.total_rails == ("battery",)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        (f"part=thermal\npart=battery\n{BATTERY}part=settings\n",
         Reading(seconds=1.5, power_w={"battery": 3.0})),
        ("zone_cpu=50000\npart=thermal\n",
         Reading(seconds=1.5, temperatures_c={"cpu": 50.0})),
        ("clock_cpu=1000000\npart=thermal\n", Reading(seconds=1.5, clocks_mhz={"cpu": 1000.0})),
        ("load=1.0\npart=thermal\n", None),
    ],
)  # fmt: skip
def test_readings(text: str, reading: Reading | None) -> None:
    assert _reading(text, 1.5) == reading


def test_it_is_entered_and_left(tmp_path: Path) -> None:
    entered: list[str] = []

    class Held:
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *details: object) -> None:
            entered.append("out")

    one = device()
    one._connection = Held()  # type: ignore[assignment]
    with one as same:
        assert (same, entered) == (one, ["in"])
    assert entered == ["in", "out"]
    assert device().commands is not None
