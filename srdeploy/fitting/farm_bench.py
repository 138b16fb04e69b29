"""One device of a farm as a bench: every batch of artifacts is a job for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from srdeploy.benchmarking.measuring.plan import Batch
from srdeploy.benchmarking.measuring.request import Request
from srdeploy.farm.fleet import LiveDevice
from srdeploy.farm.settings import FarmFile
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.probe import Ends, write_probe
from srdeploy.fitting.uses import LayerKind
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store

_FIRST = Scenario(
    name="facts",
    description="",
    inputs=((16, 16),),
    min_runs=1,
    min_seconds=0.01,
    turn_seconds=0.01,
    warmup_runs=1,
    warmup_seconds=0.0,
    quality=False,
    memory=False,
    sensors=False,
)
"""Of the one measurement that is made to learn what the device is."""


class FarmBench(Bench):
    """A device of a farm.

    Args:
        farm: The farm.
        device: It, as the farm told.
        store: Keeps what is measured.
    """

    here = False

    def __init__(self, farm: FarmFile, device: LiveDevice, store: Store) -> None:
        super().__init__(device.name, store)
        self._farm, self._live = farm, device

    @property
    def kind(self) -> str:
        """What kind of device it is, on its host."""
        return self._live.kind

    @cached_property
    def facts(self) -> DeviceFacts:  # type: ignore[override]
        """What it is, as a first measurement tells."""
        kernel = (3, 3)
        ends, kind = Ends(3, 1, kernel, False, 1), LayerKind(kernel, 1, 1.0, "")
        made = write_probe(ends, kind, (4, 4), 1, "fp32")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "facts.onnx"
            path.write_bytes(made)
            return self.measure([str(path)], Request(scenario=_FIRST, scale=1))[0].facts

    def measure(self, artifacts: Sequence[str], request: Request) -> list[Measurement]:
        """As :class:`Bench` does; a farm's device compares nothing with the dense network."""
        return super().measure(artifacts, replace(request, dense=None))

    def _run(
        self, artifacts: Sequence[str], request: Request, keep: Callable[[Measurement], None]
    ) -> None:
        from srdeploy.farm.client import run

        # A store of its own: what another run has measured is an anchor here, and runs once more.
        with (
            tempfile.TemporaryDirectory() as folder,
            Store.open(Path(folder) / "job.sqlite") as store,
        ):
            run(self._farm, artifacts, [Batch(self.uri, request)], store)
            for artifact in artifacts:
                if (found := store.get(request.key(artifact, self.uri))) is not None:
                    keep(found)
