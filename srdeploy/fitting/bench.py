"""Artifacts on one device, measured in turns and kept: what was measured is not measured again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from srdeploy.benchmarking.measuring.on_device import measure_on
from srdeploy.benchmarking.measuring.request import Outcome, Request
from srdeploy.devices.checked import CheckedDevice, checked
from srdeploy.devices.errors import DeviceError
from srdeploy.devices.open import open_device
from srdeploy.errors import SrdeployError
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.store import Store

TOGETHER = 8
"""Artifacts that take turns: each holds memory of the device."""


class Bench:
    """A device that is entered when it is first needed, and stays so; a context manager.

    Args:
        uri: The device.
        store: Keeps what is measured.
    """

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
        kept = [self._store.get(key) for key in keys]
        missing = [n for n, one in enumerate(kept) if one is None or one.error is not None]
        for start in range(0, len(missing), TOGETHER):
            self._measure([(artifacts[n], keys[n]) for n in missing[start:][:TOGETHER]], request)
        found = [self._store.get(key) for key in keys]
        return [_finished(one, artifact) for one, artifact in zip(found, artifacts, strict=True)]

    def _measure(self, asked: Sequence[tuple[str, str]], request: Request) -> None:
        keys = iter([key for _, key in asked])  # outcomes come in the order that was asked for

        def keep(outcome: Outcome) -> None:
            self._store.add(outcome.measurement, next(keys))

        artifacts = [artifact for artifact, _ in asked]
        for outcome in measure_on(self.device, artifacts, request, on_outcome=keep):
            if isinstance(outcome.failure, DeviceError):
                raise outcome.failure


def _finished(found: Measurement | None, artifact: str) -> Measurement:
    if found is None or found.error is not None or not found.samples_ms:
        told = found.error if found and found.error else f"'{artifact}' gave no times"
        raise SrdeployError(told)
    return found
