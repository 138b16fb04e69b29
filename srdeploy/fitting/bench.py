"""Artifacts on one device, measured in turns and kept: what was measured is not measured again.

A device's pace changes while a table is made: other programs, other tenants of a shared machine and
heat slow it for seconds or minutes, and no table can know when. So files are timed beside one that
stays the same, their anchor, which takes turns with them in every run: what counts is the ratio to
it, times what the anchor takes when nothing disturbs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np

from srdeploy.benchmarking.measuring.on_device import measure_on
from srdeploy.benchmarking.measuring.request import Outcome, Request
from srdeploy.benchmarking.measuring.stats import paired_speedup, turns_of
from srdeploy.devices.checked import CheckedDevice, checked
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.open import open_device
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import SrdeployError
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.store import Store

TOGETHER = 8
"""Artifacts that take turns: each holds memory of the device."""

CALM = 10
"""Percentile of a file's times that counts as undisturbed."""


@dataclass(frozen=True)
class Timed:
    """A file that was timed beside an anchor.

    Attributes:
        found: Its measurement.
        ms: What it takes when nothing disturbs the device.
    """

    found: Measurement
    ms: float


class Bench:
    """A device that is entered when it is first needed, and stays so; a context manager.

    Args:
        uri: The device.
        store: Keeps what is measured.

    Attributes:
        here: Whether this host reaches it, so that what is installed here counts there.
    """

    here = True

    def __init__(self, uri: str, store: Store) -> None:
        self.uri, self._store = uri, store
        self._stack = ExitStack()
        self._entered: CheckedDevice | None = None

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def kind(self) -> str:
        """What kind of device it is."""
        return DeviceUri.parse(self.uri).kind

    @property
    def device(self) -> CheckedDevice:
        """The device, entered."""
        if self._entered is None:
            self._entered = checked(self._stack.enter_context(open_device(self.uri)))
        return self._entered

    @property
    def facts(self) -> DeviceFacts:
        """What it is."""
        return self.device.facts

    def version_of(self, runtime: str | None) -> str | None:
        """The version of what runs networks there, as far as the device tells.

        Args:
            runtime: Its name; None: whatever the device takes, so all versions that it tells.
        """
        versions = self.facts.versions
        if runtime is not None:
            return versions.get(runtime)
        return " ".join(f"{name} {number}" for name, number in sorted(versions.items())) or None

    def measure(self, artifacts: Sequence[str], request: Request) -> list[Measurement]:
        """Measure what the store does not hold.

        Args:
            artifacts: Files.
            request: What is asked of all.

        Returns:
            A finished measurement of each, in that order.

        Raises:
            SrdeployError: one could not be measured; what was measured before it is stored.
        """
        keys = [request.key(artifact, self.uri) for artifact in artifacts]
        missing = [n for n, key in enumerate(keys) if not self._store.done(key)]
        for start in range(0, len(missing), TOGETHER):
            self._measure([(artifacts[n], keys[n]) for n in missing[start:][:TOGETHER]], request)
        found = [self._store.get(key) for key in keys]
        return [_finished(one, artifact) for one, artifact in zip(found, artifacts, strict=True)]

    def timed(self, artifacts: Sequence[str], request: Request, anchor: str) -> list[Timed]:
        """Time files beside an anchor; what the store holds is not measured again.

        Args:
            artifacts: Files; the anchor may be one of them.
            request: What is asked of all.
            anchor: A file that takes about as long as they do.

        Returns:
            One of each, in that order.

        Raises:
            SrdeployError: as :meth:`measure`.
        """
        base = request.key(anchor, self.uri)
        keys = [request.key(artifact, self.uri) for artifact in artifacts]
        others = {k: a for k, a in zip(keys, artifacts, strict=True) if k != base}
        known = self._anchors(anchor, request)
        missing = [(a, key) for key, a in others.items() if self._beside(key, known) is None]
        for start in range(0, len(missing), TOGETHER - 1):
            self._measure([(anchor, base), *missing[start:][: TOGETHER - 1]], request, beside=True)
        if not self._store.done(base):
            self._measure([(anchor, base)], request)
        _finished(self._store.get(base), anchor)
        anchors = self._anchors(anchor, request)
        calm = min(float(np.percentile(one.samples_ms, CALM)) for one in anchors.values())
        told = []
        for key, artifact in zip(keys, artifacts, strict=True):
            found = self._store.get(key) if key == base else self._beside(key, anchors)
            found = _finished(found or self._store.get(key), artifact)
            ratio = 1.0 if key == base else _speedup(anchors[found.session or ""], found)
            told.append(Timed(found, calm / ratio))
        return told

    def _anchors(self, anchor: str, request: Request) -> dict[str, Measurement]:
        """What was measured of an anchor, by session."""
        base = request.key(anchor, self.uri)
        return {
            one.session or "": one
            for one in self._store.measurements(artifact=Path(anchor).name, failed=False)
            if one.scenario == request.scenario and request.key(anchor, one.device) == base
        }

    def _beside(self, key: str, anchors: Mapping[str, Measurement]) -> Measurement | None:
        """What was measured of a file beside an anchor; it may have been beside others before."""
        kept = (self._store.get(one) for one in (key, *(f"{key} {s}" for s in anchors)))
        finished = (one for one in kept if one is not None and one.error is None)
        return next((one for one in finished if (one.session or "") in anchors), None)

    def _measure(
        self, asked: Sequence[tuple[str, str]], request: Request, *, beside: bool = False
    ) -> None:
        """Measure and keep; ``beside``: nothing is kept without the first, which is an anchor."""
        keys = iter([key for _, key in asked])  # answers come in the order that was asked for
        lost = False

        def keep(found: Measurement) -> None:
            nonlocal lost
            key = next(keys)
            lost = lost or (beside and key == asked[0][1] and found.error is not None)
            if not lost and not self._store.add(found, key):  # once more, beside another file
                self._store.add(found, f"{key} {found.session}")

        self._run([artifact for artifact, _ in asked], request, keep)

    def _run(
        self, artifacts: Sequence[str], request: Request, keep: Callable[[Measurement], None]
    ) -> None:
        """Have artifacts take turns; each measurement is kept as soon as it is there."""

        def told(outcome: Outcome) -> None:
            keep(outcome.measurement)

        for outcome in measure_on(self.device, artifacts, request, on_outcome=told):
            if isinstance(outcome.failure, DeviceError):
                raise outcome.failure


def _finished(found: Measurement | None, artifact: str) -> Measurement:
    if found is None or found.error is not None or not found.samples_ms:
        told = found.error if found and found.error else f"'{artifact}' gave no times"
        raise SrdeployError(told)
    return found


def _speedup(anchor: Measurement, found: Measurement) -> float:
    ratio = paired_speedup(turns_of(anchor), turns_of(found))
    assert ratio is not None  # both were finished in the same run
    return ratio.value
