"""What is asked of a device, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.measuring.describe import content_hash
from srdeploy.errors import SrdeployError
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import measurement_key


@dataclass(frozen=True)
class Request:
    """What is asked, whichever the device.

    Attributes:
        scenario: The conditions, with one input.
        scale: Upscaling factor.
        data: Benchmark folder, or ``builtin``; a scenario that names its own goes first.
        runtime: Runtime that must run all artifacts; None for the one that fits each.
        threads: CPU threads; a scenario that fixes them goes first; None for all.
        options: More of what opens an artifact (``arch``, ``value_range``).
        dense: The network from which the artifacts were made: what measures how near their outputs
            are to its own. None where that is not asked.
        version: Of what runs the artifacts, where an answer counts for that version only: what was
            stored of another is measured again. None where any will do.
    """

    scenario: Scenario
    scale: int
    data: str = "builtin"
    runtime: str | None = None
    threads: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    dense: str | None = None
    version: str | None = None

    @property
    def folder(self) -> str:
        """The benchmark set."""
        return self.scenario.data or self.data

    def key(self, artifact: str, device: str, repeat: int = 0, *, sha256: str | None = None) -> str:
        """Under which a store keeps the answer, see :func:`measurement_key`.

        Args:
            artifact: As named in the command.
            device: The device's name.
            repeat: Number of the repetition.
            sha256: The artifact's content, where it is known already.
        """
        settings = {
            "scale": self.scale,
            "data": Path(self.folder).name,
            "runtime": self.runtime,
            "threads": self.threads,
            "version": self.version,
            **self.options,
        }
        if self.dense is not None:
            settings["dense"] = content_hash(self.dense)
        return measurement_key(
            artifact=Path(artifact).name,
            sha256=sha256 or content_hash(artifact),
            device=device,
            scenario=self.scenario,
            settings=settings,
            repeat=repeat,
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one artifact.

    Attributes:
        artifact: As it was named in the request.
        measurement: Complete, or with ``error`` and what was measured until then.
        failure: The exception behind the error: a farm asks whether it is the device's.
    """

    artifact: str
    measurement: Measurement
    failure: SrdeployError | None = None
