"""A device that says what it is told to: ``hostile://LIE``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from srdeploy.devices.fake import FakeDevice, FakeModel
from srdeploy.devices.protocol import Job, Turn
from srdeploy.devices.uri import DeviceUri
from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading

INF, NAN = float("inf"), float("nan")


def _deep() -> Any:
    value: Any = []
    for _ in range(50_000):
        value = [value]
    return value


class _Negative:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> float:
        raise RecursionError("deeper and deeper")


TURNS: dict[str, Callable[[], Any]] = {
    "infinite-times": lambda: Turn([5.0, INF]),
    "nan-times": lambda: Turn([NAN] * 10),
    "negative-times": lambda: Turn([-5.0] * 10),
    "no-time-at-all": lambda: Turn([0.0] * 10),
    "hardly-any-time": lambda: Turn([1e-9] * 10),
    "huge-times": lambda: Turn([1e300]),
    "no-samples": lambda: Turn([]),
    "text-for-times": lambda: Turn(["1e3", None]),  # type: ignore[list-item]
    "booleans-for-times": lambda: Turn([True]),
    "a-number-for-times": lambda: Turn(7),  # type: ignore[arg-type]
    "many-samples": lambda: Turn([0.001] * 1_000_001),
    "many-digits": lambda: Turn([10**5000]),
    "compute-of-other-runs": lambda: Turn([5.0, 5.0], [4.0]),
    "infinite-compute": lambda: Turn([5.0], [INF]),
    "no-turn": lambda: None,
}
OUTPUTS: dict[str, Callable[[Any], Any]] = {
    "infinite-pixels": lambda y: np.where(y > y.mean(), np.float32(INF), y),
    "nan-pixels": lambda y: y * np.float32(NAN),
    "small-picture": lambda y: y[..., :-1],
    "empty-picture": lambda y: y[:0],
    "double-pixels": lambda y: y.astype(np.float64),
    "text-picture": lambda y: "picture",
    "no-picture": lambda y: None,
}
FACTS: dict[str, dict[str, Any]] = {
    "long-name": {"model": "x" * 100_000},
    "infinite-memory": {"memory_gb": INF},
    "negative-memory": {"memory_gb": -1.0},
    "no-cores": {"cpus": 0},
    "many-cores": {"cpus": 10**30},
    "many-facts": {"extra": {str(n): n for n in range(100_000)}},
    "deep-facts": {"extra": {"deep": [[[[[[[[[[[1]]]]]]]]]]]}},
    "nan-facts": {"extra": {"clock": NAN}},
    "odd-facts": {"extra": {"thing": object()}},
}
CONDITIONS: dict[str, dict[str, Any]] = {
    "infinite-clock": {"clocks_mhz": {"cpu": INF}},
    "negative-clock": {"clocks_mhz": {"cpu": -1.0}},
    "nan-temperature": {"temperatures_c": {"cpu": NAN}},
    "hot-as-the-sun": {"temperatures_c": {"cpu": 1e7}},
    "full-battery": {"battery_percent": 1e9},
    "negative-load": {"load_1min": -1.0},
    "many-zones": {"temperatures_c": {str(n): 40.0 for n in range(10_000)}},
}
READINGS: dict[str, dict[str, Any]] = {
    "infinite-power": {"power_w": {"total": INF}},
    "negative-power": {"power_w": {"total": -3.0}},
    "nan-power": {"power_w": {"total": NAN}},
}
LOADED: dict[str, dict[str, Any]] = {
    "infinite-load": {"load_ms": INF},
    "negative-build": {"build_ms": -1.0},
    "text-load": {"load_ms": "soon"},
    "many-threads": {"threads": 10**9},
    "long-runtime": {"runtime": "r" * 10_000},
    "many-notes": {"notes": ("note",) * 10_000},
}
FIRST = {"infinite-first": INF, "negative-first": -1.0, "nan-first": NAN}
MEMORY = {"infinite-peak": INF, "negative-peak": -5.0, "text-peak": "much"}

LIES = [*TURNS, *OUTPUTS, *FACTS, *CONDITIONS, *READINGS, *LOADED, *FIRST, *MEMORY, "stumble"]


class HostileDevice(FakeDevice):
    """A fake with one lie, its host's name."""

    def __init__(self, uri: DeviceUri) -> None:
        super().__init__(uri)
        self._lie = uri.host
        self.sensors: Any = HostileSensors(self.sensors, self._lie)

    @property
    def facts(self) -> DeviceFacts:
        """Lies, perhaps."""
        if self._lie == "stumble":
            raise KeyError("ro.product.model")
        return super().facts.model_copy(update=FACTS.get(self._lie, {}))

    def load(self, job: Job) -> FakeModel:
        """A model that lies."""
        honest = super().load(job)
        loaded = replace(honest.loaded, **LOADED.get(self._lie, {}))
        return HostileModel(self, loaded, job.artifact, self._lie)


class HostileModel(FakeModel):
    """Times, pixels and memory."""

    def __init__(self, device: FakeDevice, loaded: Any, artifact: str, lie: str) -> None:
        super().__init__(device, loaded, artifact)
        self._lie = lie

    def prepare(self, x: Any, *, runs: int, seconds: float) -> Any:
        """Perhaps no time."""
        return FIRST.get(self._lie, super().prepare(x, runs=runs, seconds=seconds))

    def turn(self, seconds: float) -> Any:
        """Perhaps no samples."""
        return TURNS[self._lie]() if self._lie in TURNS else super().turn(seconds)

    def run(self, x: Any) -> Any:
        """Perhaps no picture."""
        return OUTPUTS.get(self._lie, lambda y: y)(super().run(x))

    def peak_mb(self) -> Any:
        """Perhaps no memory."""
        return MEMORY.get(self._lie, 64.0)


class HostileSensors:
    """What no sensor reads."""

    total_rails = ("total",)

    def __init__(self, honest: Any, lie: str) -> None:
        self._honest, self._lie = honest, lie

    def conditions(self) -> Conditions:
        """Perhaps none of this world."""
        return self._honest.conditions().model_copy(update=CONDITIONS.get(self._lie, {}))

    @contextmanager
    def watch(self, seconds: float) -> Iterator[Any]:
        """Readings all through the measurement."""
        change = READINGS.get(self._lie, {})
        reading = Reading(seconds=0.0, power_w={"total": 5.0}).model_copy(update=change)
        yield SimpleNamespace(readings=[reading])
