"""The gate between devices and results: each figure at its bound, and just beyond it."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.devices.answers import Implausible
from srdeploy.devices.checked import CheckedDevice, CheckedModel, CheckedSensors, checked
from srdeploy.devices.protocol import Figures, Loaded, Turn
from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading
from srdeploy.models.registry import create

CARD = create("ledsr", scale=3, n_blocks=1, n_feats=4).card
DAY = 86_400_000.0


class Model:
    """What a device says of a loaded network."""

    def __init__(self, **said: Any) -> None:
        self.said = said

    @property
    def loaded(self) -> Loaded:
        return Loaded(**{"card": CARD, "runtime": "r", **self.said.get("loaded", {})})

    def prepare(self, x: Any, *, runs: int, seconds: float) -> Any:
        return self.said["first"]

    def turn(self, seconds: float) -> Any:
        return self.said["turn"]

    def run(self, x: Any) -> Any:
        return self.said["out"]

    def peak_mb(self) -> Any:
        return self.said["peak"]

    def close(self) -> None:
        self.said["closed"] = True


def holds(ask: Any, taken: bool, told: str = "") -> None:
    if taken:
        ask()
    else:
        with pytest.raises(Implausible, match=told):
            ask()


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ({"cpus": 1}, True), ({"cpus": 0}, False), ({"cpus": 1 << 20}, True),
        ({"cpus": (1 << 20) + 1}, False), ({"cpus": None, "memory_gb": None}, True),
        ({"memory_gb": 0.0}, True), ({"memory_gb": -0.1}, False), ({"memory_gb": 1e9}, True),
        ({"memory_gb": 1.1e9}, False), ({"model": "x" * 4097}, False),
    ],
)  # fmt: skip
def test_facts(values: dict[str, Any], taken: bool) -> None:
    facts = DeviceFacts(**{"kind": "fake", "model": "m", **values})
    device = SimpleNamespace(uri="d", commands=1, files=2, sensors=None, facts=facts)
    gate = checked(device)  # type: ignore[arg-type]
    holds(lambda: gate.facts, taken, "'d'")
    assert checked(gate) is gate
    assert (gate.uri, gate.commands, gate.files, gate.sensors) == ("d", 1, 2, None)


def test_only_a_device_with_a_screen_is_shown_figures() -> None:
    seen: list[Any] = []
    plain = SimpleNamespace(uri="d", commands=None, files=None, sensors=None)
    screen = SimpleNamespace(uri="d", commands=None, files=None, sensors=None, show=seen.append)
    for device in (plain, screen):
        checked(device).show([Figures("a.onnx")])  # type: ignore[arg-type]
    assert seen == [[Figures("a.onnx")]]


def test_facts_are_asked_once() -> None:
    class Device:
        uri, commands, files, asked = "d", None, None, 0

        @property
        def facts(self) -> DeviceFacts:
            self.asked += 1
            return DeviceFacts(kind="fake", model="m")

    gate = CheckedDevice(device := Device())  # type: ignore[arg-type]
    assert gate.facts is gate.facts
    assert device.asked == 1


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ({"build_ms": 0.0, "load_ms": DAY, "threads": 1}, True),
        ({"build_ms": -1.0}, False), ({"build_ms": DAY + 1}, False), ({"load_ms": -1.0}, False),
        ({"load_ms": DAY + 1}, False), ({"threads": 0}, False), ({"threads": 1 << 20}, True),
        ({"threads": (1 << 20) + 1}, False), ({"runtime": 5}, False), ({"provider": 5}, False),
        ({"notes": ("x" * 4097,)}, False), ({"notes": (5,)}, False), ({"precision": "p"}, True),
    ],
)  # fmt: skip
def test_what_is_loaded(values: dict[str, Any], taken: bool) -> None:
    holds(lambda: CheckedModel(Model(loaded=values), "d").loaded, taken, "'d'")


@pytest.mark.parametrize(
    ("samples", "compute", "taken"),
    [
        ([1.0, 2.0], [], True), ([1.0, 2.0], [0.5, 1.0], True), ([1.0, 2.0], [0.5], False),
        ([], [], False), ([1e-4], [], True), ([0.9e-4], [], False), ([0.0, 1.0], [], True),
        ([0.0], [], False), ([DAY], [], True), ([DAY + 1], [], False), ([1.0], [-1.0], False),
    ],
)  # fmt: skip
def test_turns(samples: list[float], compute: list[float], taken: bool) -> None:
    model = CheckedModel(Model(turn=Turn(samples, compute)), "d")
    holds(lambda: model.turn(1), taken, "'d'")
    if taken:
        assert model.turn(1) == Turn(samples, compute)


@pytest.mark.parametrize(
    ("value", "taken"), [(None, True), (0.0, True), (1e8, True), (1.1e8, False), (-1.0, False)]
)
def test_memory(value: float | None, taken: bool) -> None:
    model = CheckedModel(Model(peak=value), "d")
    holds(model.peak_mb, taken, "memory")
    if taken:
        assert model.peak_mb() == value


@pytest.mark.parametrize(
    ("value", "taken"), [(None, True), (0.0, True), (DAY, True), (DAY + 1, False), (-1.0, False)]
)
def test_the_first_run(value: float | None, taken: bool) -> None:
    model = CheckedModel(Model(first=value), "d")

    def ask() -> Any:
        return model.prepare(np.zeros((1, 3, 2, 2), np.float32), runs=1, seconds=0)

    holds(ask, taken, "the time of a run")
    if taken:
        assert ask() == value


@pytest.mark.parametrize(
    ("out", "told"),
    [
        (np.ones((2, 3, 12, 15), np.float32), None),
        (np.ones((2, 3, 12, 15)), "no float32 tensor"),
        ([1.0], "no float32 tensor"),
        (np.ones((2, 3, 15, 12), np.float32), r"\(2, 3, 15, 12\) in place of \(2, 3, 12, 15\)"),
        (np.ones((1, 3, 12, 15), np.float32), "in place of"),
        (np.full((2, 3, 12, 15), np.nan, np.float32), "no finite numbers"),
        (np.full((2, 3, 12, 15), np.inf, np.float32), "no finite numbers"),
    ],
)
def test_outputs(out: Any, told: str | None) -> None:
    model = CheckedModel(Model(out=out), "d")
    x = np.zeros((2, 3, 4, 5), np.float32)
    holds(lambda: model.run(x), told is None, told or "")
    if told is None:
        assert model.run(x) is out


def test_leaving_frees_the_model() -> None:
    with CheckedModel(model := Model(), "d"):  # type: ignore[arg-type]
        assert "closed" not in model.said
    assert model.said["closed"]


def sensors(conditions: Any = None, readings: Any = ()) -> CheckedSensors:
    @contextmanager
    def watch(seconds: float) -> Any:
        yield SimpleNamespace(readings=readings)

    found = SimpleNamespace(total_rails=("a",), conditions=lambda: conditions, watch=watch)
    return CheckedSensors(found, "d")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ({"clocks_mhz": {"c": 0.0}}, True), ({"clocks_mhz": {"c": -1.0}}, False),
        ({"clocks_mhz": {"c": 1e6}}, True), ({"clocks_mhz": {"c": 1.1e6}}, False),
        ({"temperatures_c": {"c": -300.0}}, True), ({"temperatures_c": {"c": -301.0}}, False),
        ({"temperatures_c": {"c": 5e3}}, True), ({"temperatures_c": {"c": 5001.0}}, False),
        ({"load_1min": 0.0}, True), ({"load_1min": -0.1}, False), ({"load_1min": 1e6}, True),
        ({"load_1min": 1.1e6}, False), ({"battery_percent": 0.0}, True),
        ({"battery_percent": 100.0}, True), ({"battery_percent": 100.5}, False),
        ({"battery_percent": -0.5}, False), ({}, True),
    ],
)  # fmt: skip
def test_conditions(values: dict[str, Any], taken: bool) -> None:
    gate = sensors(Conditions(**values))
    holds(gate.conditions, taken, "'d'")
    assert gate.total_rails == ("a",)


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ({"seconds": 0.0}, True), ({"seconds": -1.0}, False), ({"seconds": DAY + 1}, False),
        ({"power_w": {"a": 1e6}}, True), ({"power_w": {"a": 1.1e6}}, False),
        ({"power_w": {"a": -0.1}}, False), ({"temperatures_c": {"a": 5001.0}}, False),
        ({"temperatures_c": {"a": -300.0}}, True), ({"clocks_mhz": {"a": 1.1e6}}, False),
        ({"load_percent": {"a": 1e6}}, True), ({"load_percent": {"a": 1.1e6}}, False),
        ({"load_percent": {"a": -1.0}}, False),
    ],
)  # fmt: skip
def test_readings(values: dict[str, Any], taken: bool) -> None:
    one = Reading(**{"seconds": 1.0, **values})
    with sensors(readings=[Reading(seconds=0.5), one]).watch(1) as watch:
        holds(lambda: watch.readings, taken, "'d'")


def test_readings_without_end() -> None:
    gate = sensors(readings=[Reading(seconds=1.0)] * (10**6 + 1))
    with gate.watch(1) as watch, pytest.raises(Implausible, match="sent 1000001 readings"):
        _ = watch.readings
