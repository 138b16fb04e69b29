"""Any device, with everything that it says checked: the one gate between devices and results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srdeploy.devices.answers import (
    LEAST_MS,
    MOST_MB,
    MOST_READINGS,
    Implausible,
    data,
    number,
    numbers,
    quantities,
    reading,
)
from srdeploy.devices.protocol import (
    Device,
    Figures,
    Films,
    Job,
    Loaded,
    LoadedModel,
    Sensors,
    Shows,
    Turn,
    Watch,
)
from srdeploy.errors import UserError
from srdeploy.measure.measurement import Conditions, DeviceFacts, Reading

_CELSIUS, _MHZ, _WATTS, _PERCENT = (-300.0, 5e3), (0.0, 1e6), (0.0, 1e6), (0.0, 1e6)
"""What sensors may read; far beyond anything that runs."""


def checked(device: Device) -> CheckedDevice:
    """The gate of a device whose context has been entered."""
    return device if isinstance(device, CheckedDevice) else CheckedDevice(device)


class CheckedDevice:
    """A device (:class:`srdeploy.devices.protocol.Device`) that tells what can be, or an error.

    Everything raises :class:`srdeploy.devices.answers.Implausible` where it cannot.
    """

    def __init__(self, device: Device) -> None:
        self._device, self.uri = device, device.uri
        self.commands, self.files = device.commands, device.files
        self._facts: DeviceFacts | None = None

    @property
    def facts(self) -> DeviceFacts:
        """What it is, bounded; asked once."""
        if self._facts is None:
            with reading(self.uri):
                facts = self._device.facts
            data(facts.model_dump(), self.uri)
            if facts.cpus is not None:
                number(facts.cpus, self.uri, "the number of its cores", 1, 1 << 20)
            if facts.memory_gb is not None:
                number(facts.memory_gb, self.uri, "its memory in GB", 0, 1e9)
            self._facts = facts
        return self._facts

    @property
    def sensors(self) -> CheckedSensors | None:
        """Its sensors, where it has some."""
        sensors = self._device.sensors
        return None if sensors is None else CheckedSensors(sensors, self.uri)

    def load(self, job: Job) -> CheckedModel:
        """Open an artifact there."""
        return CheckedModel(self._device.load(job), self.uri)

    def show(self, figures: Sequence[Figures]) -> None:
        """Show figures on its screen, where it has one that somebody looks at."""
        if isinstance(self._device, Shows):
            self._device.show(figures)

    def __enter__(self) -> CheckedDevice:
        self._device.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._device.__exit__(*details)


class CheckedModel:
    """See :class:`srdeploy.devices.protocol.LoadedModel`."""

    def __init__(self, model: LoadedModel, device: str) -> None:
        self._model, self._name = model, device

    @property
    def loaded(self) -> Loaded:
        """What is known of it."""
        loaded, name = self._model.loaded, self._name
        for what, value in (("building", loaded.build_ms), ("loading", loaded.load_ms)):
            if value is not None:
                number(value, name, f"the time of {what} (ms)")
        if loaded.threads is not None:
            number(loaded.threads, name, "the number of its threads", 1, 1 << 20)
        told = (loaded.runtime, loaded.runtime_version, loaded.provider, loaded.precision)
        words = [word for word in (*told, *loaded.notes) if word is not None]
        if not all(isinstance(word, str) for word in words):
            raise Implausible(f"'{name}' names no runtime in words.")
        data(words, name)
        return loaded

    def prepare(self, x: NDArray[np.float32], *, runs: int, seconds: float) -> float | None:
        """Hand over the tensor, run once, warm up."""
        with reading(self._name):
            first = self._model.prepare(x, runs=runs, seconds=seconds)
        return None if first is None else number(first, self._name, "the time of a run (ms)")

    def turn(self, seconds: float) -> Turn:
        """Samples of one turn."""
        return self._checked(lambda: self._model.turn(seconds))

    def film(self, path: Path, seconds: float) -> Turn:
        """Samples of one turn in a video.

        Raises:
            UserError: this device has none.
        """
        model = self._model
        if not isinstance(model, Films):
            raise UserError(
                f"'{self._name}' runs networks alone; scenarios with a frame_rate are for "
                "--device local."
            )
        return self._checked(lambda: model.film(path, seconds))

    def _checked(self, measure: Callable[[], Turn]) -> Turn:
        name, what = self._name, "the time of a run (ms)"
        with reading(name):
            turn = measure()
            times, parts = turn.samples_ms, turn.compute_ms
        samples, compute = numbers(times, name, what), numbers(parts, name, what)
        if not samples or len(compute) not in (0, len(samples)):
            raise Implausible(f"'{name}' sent {len(samples)} times, {len(compute)} of them apart.")
        number(sum(samples) / len(samples), name, "the mean time of a run (ms)", low=LEAST_MS)
        return Turn(samples, compute)

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output for a tensor."""
        with reading(self._name):
            out = self._model.run(x)
        if not isinstance(out, np.ndarray) or out.dtype != np.float32:
            raise Implausible(f"'{self._name}' put out no float32 tensor.")
        s = self._model.loaded.card.network_scale
        expected = (*x.shape[:2], x.shape[2] * s, x.shape[3] * s)
        if out.shape != expected:
            raise Implausible(f"'{self._name}' put out {out.shape} in place of {expected}.")
        if not np.isfinite(out).all():
            raise Implausible(f"'{self._name}' put out pixels that are no finite numbers.")
        return out

    def peak_mb(self) -> float | None:
        """Peak memory, MB."""
        with reading(self._name):
            peak = self._model.peak_mb()
        return None if peak is None else number(peak, self._name, "its memory in MB", high=MOST_MB)

    def close(self) -> None:
        """Free it."""
        self._model.close()

    def __enter__(self) -> CheckedModel:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


class CheckedSensors:
    """See :class:`srdeploy.devices.protocol.Sensors`."""

    def __init__(self, sensors: Sensors, device: str) -> None:
        self._sensors, self._name = sensors, device

    @property
    def total_rails(self) -> tuple[str, ...]:
        """The rails whose sum is the whole power."""
        return self._sensors.total_rails

    def conditions(self) -> Conditions:
        """Power mode, clocks and temperatures now."""
        with reading(self._name):
            found = self._sensors.conditions()
        data(found.model_dump(), self._name)
        quantities(found.clocks_mhz, self._name, "the clock (MHz)", *_MHZ)
        quantities(found.temperatures_c, self._name, "the temperature", *_CELSIUS)
        for what, value, high in (
            ("its load", found.load_1min, 1e6),
            ("its battery's charge (%)", found.battery_percent, 100.0),
        ):
            if value is not None:
                number(value, self._name, what, 0, high)
        return found

    @contextmanager
    def watch(self, seconds: float) -> Iterator[CheckedWatch]:
        """Read alongside."""
        with self._sensors.watch(seconds) as watch:
            yield CheckedWatch(watch, self._name)


class CheckedWatch:
    """See :class:`srdeploy.devices.protocol.Watch`."""

    def __init__(self, watch: Watch, device: str) -> None:
        self._watch, self._name = watch, device

    @property
    def readings(self) -> list[Reading]:
        """What was read so far."""
        name = self._name
        with reading(name):
            found = self._watch.readings
        if len(found) > MOST_READINGS:
            raise Implausible(f"'{name}' sent {len(found)} readings of its sensors.")
        for one in found:
            number(one.seconds, name, "the time of a reading (s)")
            quantities(one.power_w, name, "the power (W)", *_WATTS)
            quantities(one.temperatures_c, name, "the temperature", *_CELSIUS)
            quantities(one.clocks_mhz, name, "the clock (MHz)", *_MHZ)
            quantities(one.load_percent, name, "the load (%)", *_PERCENT)
        return found
