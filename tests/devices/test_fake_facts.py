"""What a fake device makes up: figures that tests and scripts elsewhere rely on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.devices.errors import DeviceError, DeviceFull
from srdeploy.devices.fake import FakeCommands, FakeDevice, FakeModel, FakeWatch
from srdeploy.devices.protocol import Completed, Job
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError


def device(text: str) -> FakeDevice:
    return FakeDevice(DeviceUri.parse(text))


def model(text: str, **job: Any) -> FakeModel:
    return device(text).load(Job("edsr-s-x2", **job))


def test_facts() -> None:
    facts = device("fake://a").facts
    assert (facts.kind, facts.model, facts.cpus, facts.memory_gb) == ("fake", "fake board", 1, 1.0)
    assert device("fake://a?model=a phone").facts.model == "a phone"


def test_what_is_loaded() -> None:
    loaded = model("fake://a?ms=7").loaded
    assert (loaded.threads, loaded.load_ms, loaded.precision) == (1, 70.0, "fp32")
    assert loaded.timed
    assert model("fake://a", threads=3).loaded.threads == 3


def test_times() -> None:
    one = model("fake://a?ms=10&jitter=0")
    assert one.turn(0.1).samples_ms == [10.0] * 10
    assert one.turn(0.0).samples_ms == [10.0]
    assert one.turn(0.0).compute_ms == [9.0]
    assert one.prepare(np.zeros((1, 3, 2, 2), np.float32), runs=1, seconds=0) == 30.0
    assert one.peak_mb() == 64.0
    (default,) = model("fake://a?jitter=0").turn(0).samples_ms
    assert default == 5.0
    spread = np.array(model("fake://a?ms=1").turn(1).samples_ms)
    assert 0.01 < spread.std() < 0.03
    wild = model("fake://a?ms=10&jitter=100").turn(1).samples_ms
    assert min(wild) == 1.0  # a tenth at least
    (zero,) = model("fake://a?ms=0").turn(0).samples_ms
    assert zero == 0.0


def test_the_seed_is_the_name_unless_given() -> None:
    def samples(text: str) -> list[float]:
        return model(text).turn(0.05).samples_ms

    assert samples("fake://a") == samples("fake://a") != samples("fake://b")
    assert samples("fake://a?seed=1") == samples("fake://b?seed=1") != samples("fake://a?seed=2")


def test_outputs_are_nearest_neighbours() -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    out = model("fake://a").run(x)
    assert out.shape == (1, 3, 4, 4)
    rows = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    np.testing.assert_array_equal(out[0, 0], rows)


def test_no_time_passes_unless_asked() -> None:
    start = time.monotonic()
    model("fake://a").turn(5)
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(("after", "turns"), [("", 0), ("&after=0", 0), ("&after=3", 3)])
def test_lost_after_so_many_turns(after: str, turns: int) -> None:
    one = model(f"fake://a?fail=lost{after}")
    for _ in range(turns):
        one.turn(0)
    with pytest.raises(DeviceError, match="went away"):
        one.turn(0)


@pytest.mark.parametrize("text", ["ms=-1", "jitter=-0.1", "pace=x", "watts=-5", "after=-1"])
def test_numbers_are_0_or_more(text: str) -> None:
    with pytest.raises(UserError, match=f"{text.partition('=')[0]} must be a number of 0 or more"):
        device(f"fake://a?{text}")
    device(f"fake://a?{text.partition('=')[0]}=0")


def test_programs() -> None:
    def said(*command: str, stdin: bytes = b"") -> Completed:
        return FakeCommands().run(command, stdin=stdin)

    assert said("echo", "a", "b") == Completed(0, "a b\n", "")
    assert said("cat", stdin=b"x\xff") == Completed(0, "x\ufffd", "")
    assert said("true") == Completed(0, "", "")
    assert said("false") == Completed(1, "", "")
    assert said("cat", "file") == Completed(127, "", "cat: not found")


def test_files(tmp_path: Path) -> None:
    files = device("fake://a").files
    (tmp_path / "a.bin").write_bytes(b"content")
    path = files.push(tmp_path / "a.bin")
    assert path == files.push(tmp_path / "a.bin")
    assert path.endswith(".bin")
    files.pull(path, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"content"
    files.remove(path)
    files.remove(path)
    with pytest.raises(DeviceError, match="There is no file"):
        files.pull(path, tmp_path / "c")
    with pytest.raises(UserError, match="There is no file"):
        files.push(tmp_path / "nothing")
    with pytest.raises(DeviceFull):
        device("fake://a?fail=full").files.push(tmp_path / "a.bin")


def test_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    sensors = device("fake://a?watts=3").sensors
    found = sensors.conditions()
    assert (found.power_mode, found.clocks_mhz, found.temperatures_c) == (
        "full", {"cpu": 1000.0}, {"cpu": 40.0},
    )  # fmt: skip
    clock = iter([10.0, 10.0, 10.26])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with sensors.watch(0.1) as watch:
        assert isinstance(watch, FakeWatch)
        assert [one.seconds for one in watch.readings] == [0.0]
        readings = watch.readings
    assert [one.seconds for one in readings] == pytest.approx([0.0, 0.1, 0.2])
    assert [one.temperatures_c["cpu"] for one in readings] == pytest.approx([40.0, 40.01, 40.02])
    assert all(2.7 < one.power_w["total"] < 3.3 for one in readings)


def test_a_lock_tells_who_came_and_went(tmp_path: Path) -> None:
    text = f"fake://a?lock={tmp_path}"
    with device(text), pytest.raises(DeviceError):
        device(text).__enter__()
    lines = (tmp_path / "a.lock").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["in", "refused", "out"]
    assert all(abs(float(line.split()[1]) - time.time()) < 60 for line in lines)
