"""What is asked of a board's sensors, how often, and what a reading holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.devices.answers import Implausible
from srdeploy.devices.shell import watch as module
from srdeploy.devices.shell.watch import KERNEL, SensorSource, ShellWatch, in_blocks, parse_kernel
from srdeploy.measure.measurement import Reading
from tests.devices.shell.local_link import LocalLink

Watch = Callable[..., ShellWatch]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Begins watches, and ends them."""
    begun: list[ShellWatch] = []

    def begin(source: SensorSource, seconds: float = 0.01) -> ShellWatch:
        begun.append(ShellWatch(LocalLink(), source, seconds))
        return begun[-1]

    yield begin
    for one in begun:
        one.stop()


def soon(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def a_reading(text: str, seconds: float) -> Reading:
    return Reading(seconds=seconds, power_w={text.strip() or "none": 1.0})


@pytest.mark.parametrize(
    ("seconds", "slowest", "text"),
    [(0.05, 0.0, "0.05 50"), (0.5, 2.0, "2 2000"), (3.0, 2.0, "3 3000"), (2.0, 2.0, "2 2000"),
     (0.0001, 0.0, "0.0001 1"), (0.0016, 0.0, "0.0016 2")],
)  # fmt: skip
def test_how_often(seconds: float, slowest: float, text: str) -> None:
    source = SensorSource("{seconds} {milliseconds}", a_reading, slowest=slowest)
    assert source.text(seconds) == text


def test_a_source_of_lines_is_as_quick_as_it_is_asked(watch: Watch) -> None:
    source = SensorSource("echo {seconds}; echo {milliseconds}; exec sleep 30", a_reading)
    assert source.rails == ()
    one = watch(source, 0.02)
    soon(lambda: len(one.readings) == 2)
    assert [list(reading.power_w) for reading in one.readings] == [["0.02"], ["20"]]


def test_shell_text_is_run_again_and_again(watch: Watch) -> None:
    source = in_blocks("echo {a,b}\necho $((1 + 1))", a_reading, ("x",))
    assert source.text(0.1) == ("while :; do echo {a,b}\necho $((1 + 1))\necho --; sleep 1; done")
    assert source.text(1.5).endswith("sleep 1.5; done")
    assert source.rails == ("x",)
    one = watch(in_blocks("echo '{a}'\necho b", a_reading, slowest=0.0))
    soon(lambda: len(one.readings) >= 3)
    assert {*one.readings[0].power_w, *one.readings[2].power_w} == {"{a}\nb"}


def test_what_a_kernel_tells() -> None:
    warm, quick = "zone_cpu=50000\n", "clock_cpu=1000000\n"
    assert parse_kernel(warm, 1.5) == Reading(seconds=1.5, temperatures_c={"cpu": 50.0})
    assert parse_kernel(quick, 2.5) == Reading(seconds=2.5, clocks_mhz={"cpu": 1000.0})
    assert parse_kernel(warm + quick, 0) == Reading(
        seconds=0, temperatures_c={"cpu": 50.0}, clocks_mhz={"cpu": 1000.0}
    )
    assert parse_kernel("load=1.0\n", 0) is None
    assert (KERNEL.blocks, KERNEL.parse, KERNEL.slowest) == (True, parse_kernel, 1.0)


def test_times_are_since_the_beginning(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.0126, 12.5])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    one = watch(SensorSource("echo a; echo b; exec sleep 30", a_reading))
    soon(lambda: len(one.readings) == 2)
    assert [reading.seconds for reading in one.readings] == [0.013, 2.5]


def test_what_tells_nothing_is_no_reading(watch: Watch) -> None:
    def parse(text: str, seconds: float) -> Reading | None:
        return a_reading(text, seconds) if text == "b\n" else None

    one = watch(SensorSource("echo a; echo b; echo c; exec sleep 30", parse))
    soon(lambda: one.readings)
    assert [list(reading.power_w) for reading in one.readings] == [["b"]]
    one.readings.clear()
    assert len(one.readings) == 1


@pytest.mark.parametrize(
    "error", [ValueError("odd"), TypeError("odd"), KeyError("odd"), ZeroDivisionError("odd")]
)
def test_what_cannot_be_read_ends_it(watch: Watch, error: Exception) -> None:
    def parse(text: str, seconds: float) -> None:
        raise error

    one = watch(SensorSource("exec yes", parse))
    one._thread.join(20)
    with pytest.raises(
        Implausible, match=r"sensors of 'board' answered what cannot .* \('?odd'?\)"
    ):
        one.readings  # noqa: B018
    assert one._process.wait(20) != 0


@pytest.mark.parametrize(("length", "fits"), [((1 << 20) - 2, True), ((1 << 20) - 1, False)])
def test_a_reading_is_less_than_a_mebibyte(watch: Watch, length: int, fits: bool) -> None:
    found: list[int] = []
    said = f"head -c {length} /dev/zero | tr '\\0' x; echo; echo --; exec sleep 30"
    one = watch(SensorSource(said, lambda text, seconds: found.append(len(text))))
    if fits:
        soon(lambda: found == [length + 1, 3])
    else:
        one._thread.join(20)
        with pytest.raises(Implausible, match="a reading without end"):
            one.readings  # noqa: B018


@pytest.mark.parametrize("count", [3, 4])
def test_readings_are_counted(watch: Watch, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(module, "MOST_READINGS", 3)
    one = watch(SensorSource(f"seq {count}; exec sleep 30", a_reading))
    soon(lambda: len(one._readings) == count)
    if count == 3:
        assert len(one.readings) == 3
    else:
        one._thread.join(20)
        with pytest.raises(Implausible, match="no end of readings"):
            one.readings  # noqa: B018


def test_nothing_is_left_when_it_stops(watch: Watch) -> None:
    before = threading.active_count()
    one = watch(SensorSource("exec sleep 30", a_reading))
    one.stop()
    assert one._process.returncode == 0
    assert threading.active_count() == before


def test_it_has_five_seconds_to_end(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    graces: list[float] = []
    real = module.end_process

    def end(process: Any, grace: float) -> int:
        graces.append(grace)
        return real(process, grace)

    monkeypatch.setattr(module, "end_process", end)
    watch(SensorSource("exec sleep 30", a_reading)).stop()
    assert graces == [5.0]
