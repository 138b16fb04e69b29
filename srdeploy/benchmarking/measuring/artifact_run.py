"""One artifact on its way through a measurement on a device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.benchmarking.measuring.describe import content_hash, counts
from srdeploy.benchmarking.measuring.film import Filmed
from srdeploy.benchmarking.measuring.power import Window, power_of, within
from srdeploy.benchmarking.measuring.request import Outcome, Request
from srdeploy.benchmarking.measuring.tiles import Tiled, timed_input
from srdeploy.data.benchmark import open_benchmark
from srdeploy.devices.artifact import card_of
from srdeploy.devices.protocol import Device, Job, LoadedModel, Shape, Watch
from srdeploy.devices.session import DeviceSession
from srdeploy.errors import SrdeployError, UserError
from srdeploy.measure.measurement import Measurement, Power, Reading
from srdeploy.quality.evaluate import bicubic_psnr, evaluate, natural_protocol
from srdeploy.quality.protocol import get_protocol
from srdeploy.quality.result import Quality
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import input_shape
from srdeploy.runtime.table import split_runtime

_TOLD = ("runtime", "runtime_version", "provider", "precision", "threads", "build_ms", "load_ms")


class ArtifactRun:
    """Loads, takes turns, is asked for memory and quality, and becomes a measurement.

    Attributes:
        artifact: As named in the request.
        failure: Why it is out; None while it is not.
    """

    def __init__(
        self, device: Device, artifact: str, request: Request, picture: tuple[int, int]
    ) -> None:
        self.artifact = artifact
        self._picture = picture
        self.failure: SrdeployError | None = None
        self._facts: dict[str, Any] = {"artifact": Path(artifact).name}
        self._notes: list[str] = []
        self._windows: list[Window] = []
        self._compute_ms: list[float] = []
        self._device = device
        self._request = request
        self._model: LoadedModel | None = None

    @property
    def timed(self) -> bool:
        """Whether it takes turns."""
        return self.failure is None and self._opened().loaded.timed

    def load(self, lr: NDArray[np.uint8]) -> None:
        """Open, first run, warm-up."""
        with self._own_failure():
            self._load(lr)

    def turn(self, seconds: float) -> list[float]:
        """One turn of sampling (:class:`srdeploy.benchmarking.measuring.interleave.TurnTaker`)."""
        began = time.monotonic()
        turn = self._opened().turn(seconds)
        self._windows.append((began, time.monotonic()))
        self._compute_ms += turn.compute_ms
        return turn.samples_ms

    def finish(self) -> None:
        """Memory and quality; then what it held is freed."""
        scenario = self._request.scenario
        if self.failure is None:
            with self._own_failure():
                if self.timed and scenario.memory:
                    self._facts["peak_mb"] = self._opened().peak_mb()
                if scenario.quality:
                    self._facts["quality"] = self._quality()
        self.close()

    def close(self) -> None:
        """Free what it holds; nothing happens the second time."""
        model, self._model = self._model, None
        if model is not None:
            with self._own_failure():
                model.close()

    def outcome(
        self, rounds: list[list[float]], common: dict[str, Any], watch: Watch | None, zero: float
    ) -> Outcome:
        """What came of it.

        Args:
            rounds: Its samples (ms) by turn.
            common: Fields of the measurement that all artifacts of the run share.
            watch: The sensors' readings, or None.
            zero: When they began (``time.monotonic``).
        """
        samples = [round(sample, 4) for one in rounds for sample in one]
        readings: list[Reading] = []
        power: Power | None = None
        with self._own_failure():
            readings, power = self._sensed(watch, zero, samples)
        name, failure = self._facts["artifact"], self.failure
        measurement = Measurement(
            **common,
            **self._facts,
            samples_ms=samples,
            compute_ms=[round(sample, 4) for sample in self._compute_ms],
            turns=[len(one) for one in rounds],
            readings=readings,
            power=power,
            notes=self._notes,
            error=None if failure is None else f"{name}: {failure}",
        )
        return Outcome(self.artifact, measurement, failure)

    def _sensed(
        self, watch: Watch | None, zero: float, samples: list[float]
    ) -> tuple[list[Reading], Power | None]:
        """The sensors' readings of its own turns, and its power."""
        sensors = self._device.sensors
        if watch is None or sensors is None:
            return [], None
        windows = [(start - zero, end - zero) for start, end in self._windows]
        readings = within(watch.readings, windows)
        rails, batch = sensors.total_rails, self._request.scenario.batch
        return readings, power_of(readings, rails, samples, batch)

    def _load(self, lr: NDArray[np.uint8]) -> None:
        scenario, runtime = self._request.scenario, self._request.runtime
        self._facts["sha256"] = content_hash(self.artifact)
        self._model = model = self._device.load(self._job(lr))
        loaded = model.loaded
        self._facts |= {name: getattr(loaded, name) for name in _TOLD} | counts(loaded.card)
        if not loaded.timed:
            self._notes += loaded.notes
            if not scenario.quality:
                raise UserError(
                    f"the runtime {runtime or loaded.runtime} computes results only, its speed "
                    "means nothing; measure on a device, or measure quality."
                )
            return
        timed = timed_input(loaded.card, lr, self._request.scale, scenario)
        if timed.tiles > 1:
            self._model = Tiled(self._model, timed.tiles)
            self._notes.append(timed.remark)
        if scenario.frame_rate is not None:
            self._model = Filmed(model, lr, scenario.frame_rate)
        self._facts["input"] = timed.x.shape
        self._facts["first_ms"] = self._model.prepare(
            timed.x, runs=scenario.warmup_runs, seconds=scenario.warmup_seconds
        )
        # Read once more: a runtime that chooses while it runs can tell now what it chose, and the
        # native runner what it computed in.
        loaded = model.loaded
        self._facts |= {name: getattr(loaded, name) for name in _TOLD}
        self._notes = [*loaded.notes, *self._notes]

    def _job(self, lr: NDArray[np.uint8]) -> Job:
        request, scenario = self._request, self._request.scenario
        artifact, named = split_runtime(self.artifact)
        job = Job(
            artifact=artifact,
            runtime=named or request.runtime,
            threads=scenario.threads or request.threads,
            options={"scale": request.scale, **request.options},
            timeout_seconds=scenario.timeout_seconds,
            picture=self._picture,
        )
        if self._device.facts.kind == "local":
            return job  # files are opened as they are, for whatever shapes they take
        card = card_of(job)
        shapes: dict[Shape, None] = {}
        shapes[_shape(timed_input(card, lr, request.scale, scenario).x)] = None
        if scenario.quality:
            for pair in open_benchmark(request.folder, request.scale):
                shapes[input_shape(card, pair.lr().shape[:2], request.scale)] = None
        return replace(job, shapes=tuple(shapes))

    def _quality(self) -> Quality:
        request = self._request
        session = DeviceSession(self._opened())
        named = request.scenario.protocol
        protocol = get_protocol(named) if named else natural_protocol(session.card)
        with ExitStack() as stack:
            dense = request.dense and stack.enter_context(open_session(request.dense))
            found = evaluate(
                session, request.folder, request.scale, protocol, dense=dense or None,
                progress=False,
            )  # fmt: skip
        bicubic = bicubic_psnr(request.folder, request.scale, protocol)
        return found.model_copy(update={"bicubic": bicubic})

    def _opened(self) -> LoadedModel:
        assert self._model is not None
        return self._model

    @contextmanager
    def _own_failure(self) -> Iterator[None]:
        """What goes wrong inside is this artifact's failure; the first one is kept."""
        try:
            yield
        except SrdeployError as error:
            self.failure = self.failure or error


def _shape(x: NDArray[np.float32]) -> Shape:
    n, c, h, w = x.shape
    return n, c, h, w
