"""What is to be measured where: batches of artifacts, resumed from a store, rows as they come."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.measuring.journal import Journal, open_journal
from srdeploy.benchmarking.measuring.on_device import check_artifacts, measure_on, now
from srdeploy.benchmarking.measuring.request import Outcome, Request
from srdeploy.benchmarking.measuring.row import Row, row_of
from srdeploy.data.benchmark import open_benchmark
from srdeploy.devices.checked import CheckedDevice, checked
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.open import open_device
from srdeploy.devices.protocol import Device
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import SrdeployError
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store
from srdeploy.quality.protocol import get_protocol


@dataclass(frozen=True)
class Batch:
    """Artifacts that take turns on one device under one scenario.

    Attributes:
        device: Its URI.
        request: What is asked.
        repeat: Number of the repetition: each is a fresh start of everything.
    """

    device: str
    request: Request
    repeat: int = 0


def plan(
    devices: Sequence[str],
    scenarios: Sequence[Scenario],
    *,
    repeats: int = 1,
    **settings: Any,
) -> list[Batch]:
    """Every scenario, input and repetition on every device, one device after another.

    Args:
        devices: URIs.
        scenarios: With as many inputs as they like.
        repeats: How often each.
        settings: The other fields of :class:`srdeploy.benchmarking.measuring.request.Request`.
    """
    return [
        Batch(device, Request(scenario=one, **settings), repeat)
        for device in devices
        for scenario in scenarios
        for one in scenario.each()
        for repeat in range(repeats)
    ]


__all__ = ["Batch", "Watcher", "check", "check_artifacts", "plan", "run"]


def check(artifacts: Sequence[str], batches: Sequence[Batch]) -> list[str]:
    """See that everything that was named is there, before minutes of measuring end in finding out.

    Returns:
        The artifacts, as :func:`check_artifacts` gives them.

    Raises:
        UserError: an artifact or benchmark set that does not exist, or a protocol without a name.
    """
    found = check_artifacts(artifacts)
    for folder, scale in dict.fromkeys((b.request.folder, b.request.scale) for b in batches):
        open_benchmark(folder, scale)
    for name in dict.fromkeys(b.request.scenario.protocol for b in batches):
        if name is not None:
            get_protocol(name)
    return found


class Watcher:
    """Hears what happens; does nothing itself."""

    def turn(self, batch: Batch, artifact: str, samples_ms: list[float]) -> None:
        """An artifact has taken a turn."""

    def row(self, batch: Batch, artifact: str, row: Row, stored: bool) -> None:
        """An artifact is measured, or (``stored``) was so before."""

    def said(self, sentence: str) -> None:
        """Something happened that people want to know of."""


def run(
    artifacts: Sequence[str],
    batches: Sequence[Batch],
    *,
    store: Store | None = None,
    journal: Path | None = None,
    watcher: Watcher | None = None,
) -> list[Row]:
    """Measure batch by batch.

    What the store has finished is not measured again; what is measured goes there at once. A device
    that cannot be reached costs its own rows, unless it is the only one.

    Args:
        artifacts: Files, or names of shipped networks; ratios refer to the first.
        batches: See :func:`plan`.
        store: Keeps the measurements.
        journal: File that gets every turn and row as a JSON line.
        watcher: Hears of every turn and row.

    Returns:
        One row per batch and artifact, in that order.

    Raises:
        UserError: nothing to measure, a URI of no device, or a benchmark set that cannot be read.
        DeviceError: the only device cannot be reached.
    """
    artifacts = check(artifacts, batches)
    devices = {batch.device: open_device(batch.device) for batch in batches}
    with ExitStack() as stack:
        log = stack.enter_context(open_journal(journal))
        runner = _Runner(artifacts, store, log, watcher or Watcher())
        rows: list[Row] = []
        for uri, device in devices.items():
            mine = [batch for batch in batches if batch.device == uri]
            rows += runner.on(device, mine, only=len(devices) == 1)
        return rows


class _Runner:
    def __init__(
        self, artifacts: Sequence[str], store: Store | None, log: Journal, watcher: Watcher
    ) -> None:
        self._artifacts, self._store, self._log, self._watcher = artifacts, store, log, watcher

    def on(self, device: Device, batches: Sequence[Batch], only: bool) -> list[Row]:
        """All batches of one device, which is entered when the first has something left to do."""
        rows: list[Row] = []
        with ExitStack() as stack:
            entered: CheckedDevice | DeviceError | None = None
            for batch in batches:
                found = self._stored(batch)
                missing = [n for n in range(len(self._artifacts)) if n not in found]
                if missing and entered is None:
                    try:
                        entered = checked(stack.enter_context(device))
                        entered.facts  # noqa: B018  (what it says of itself belongs to reaching it)
                    except DeviceError as error:
                        if only:
                            raise
                        entered = error
                rows += self._batch(batch, found, missing, entered)
        return rows

    def _stored(self, batch: Batch) -> dict[int, Measurement]:
        """What is finished, by the number of the artifact."""
        found: dict[int, Measurement] = {}
        for number, artifact in enumerate(self._artifacts if self._store else ()):
            assert self._store is not None
            key = batch.request.key(artifact, batch.device, batch.repeat)
            measurement = self._store.get(key)
            if measurement is not None and measurement.error is None:
                found[number] = measurement
        return found

    def _batch(
        self,
        batch: Batch,
        found: dict[int, Measurement],
        missing: list[int],
        device: CheckedDevice | DeviceError | None,
    ) -> list[Row]:
        self._log.write(
            "start",
            artifacts=[Path(a).name for a in self._artifacts],
            device=batch.device,
            scenario=batch.request.scenario.model_dump(mode="json"),
        )
        measured: dict[int, Measurement] = {}
        waiting = iter(missing)  # outcomes come in the order that was asked for

        def told(number: int, measurement: Measurement, stored: bool) -> None:
            measured[number] = measurement
            # A ratio is to the first artifact: where that one is still to come, there is none yet.
            row = row_of(measurement, measured.get(0, measurement))
            self._log.write("row", **row.model_dump(mode="json"))
            self._watcher.row(batch, self._artifacts[number], row, stored)

        def on_turn(index: int, number: int, samples: list[float]) -> None:
            self._log.write("turn", artifact=index, round=number, samples_ms=samples)
            self._watcher.turn(batch, self._artifacts[missing[index]], samples)

        def on_outcome(outcome: Outcome) -> None:
            if self._store is not None:
                key = batch.request.key(outcome.artifact, batch.device, batch.repeat)
                self._store.add(outcome.measurement, key)
            told(next(waiting), outcome.measurement, stored=False)

        for number, measurement in found.items():
            told(number, measurement, stored=True)
        if isinstance(device, DeviceError):
            for number in missing:
                on_outcome(unreached(batch, self._artifacts[number], device))
        elif missing and device is not None:
            try:
                measure_on(
                    device,
                    [self._artifacts[number] for number in missing],
                    batch.request,
                    repeat=batch.repeat,
                    on_turn=on_turn,
                    on_outcome=on_outcome,
                )
            except DeviceError as error:  # it went away as a whole: what is told already stays
                for number in missing[len(measured) - len(found) :]:
                    on_outcome(unreached(batch, self._artifacts[number], error))
        return [row_of(measured[number], measured[0]) for number in sorted(measured)]


def unreached(batch: Batch, artifact: str, error: SrdeployError) -> Outcome:
    """The outcome where no device could be asked."""
    name = Path(artifact).name
    measurement = Measurement(
        artifact=name,
        device=batch.device,
        facts=DeviceFacts(kind=DeviceUri.parse(batch.device).kind, model="not reached"),
        scenario=batch.request.scenario,
        repeat=batch.repeat,
        started=now(),
        scale=batch.request.scale,
        error=f"{name}: {error}",
    )
    return Outcome(artifact, measurement, error)
