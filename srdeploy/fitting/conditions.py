"""The conditions under which networks are timed for a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from srdeploy.benchmarking.measuring.request import Request
from srdeploy.errors import UserError
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.probe import PRECISIONS
from srdeploy.measure.scenario import Scenario
from srdeploy.runtime.table import RUNTIMES

PROBE = {"min_runs": 10, "min_seconds": 0.8, "turn_seconds": 0.2, "warmup_runs": 2}
PROBE |= {"warmup_seconds": 0.2, "quality": False, "memory": False, "sensors": False}
"""Of a probe: many of them are measured, and none counts for much. Turns are short, so that a time
of unrest does not meet all turns of one."""

WHOLE = {"min_runs": 20, "min_seconds": 3.0, "turn_seconds": 0.3, "quality": False}
WHOLE |= {"sensors": False}
"""Of a whole network."""


@dataclass(frozen=True)
class Way:
    """One way to run a network on a device.

    Attributes:
        runtime: What runs it; None: what the device takes for ONNX files.
        precision: What it computes in.
        pixel_shuffle: The form in which PixelShuffle is written
            (:mod:`srdeploy.exporting.onnx.lower`).
    """

    runtime: str | None
    precision: str
    pixel_shuffle: str = "crd"

    def __str__(self) -> str:
        """For people: ``onnxruntime int8``."""
        form = "" if self.pixel_shuffle == "crd" else f" ({self.pixel_shuffle})"
        return f"{self.runtime or 'its runtime'} {self.precision}{form}"

    @property
    def name(self) -> str:
        """For files."""
        parts = (self.runtime or "", self.precision, self.pixel_shuffle)
        return "-".join(part for part in parts if part not in ("", "crd"))


@dataclass(frozen=True)
class Conditions:
    """What all measurements of a fit have in common.

    Attributes:
        size: Height and width of the LR image.
        scale: Upscaling factor.
        threads: CPU threads; None: all.
        tile: Images are cut into tiles of at most so many LR pixels a side; None: whole.
        data: Benchmark set.
        energy: Whole networks are measured with the device's power sensors, too.
    """

    size: tuple[int, int]
    scale: int
    threads: int | None = None
    tile: int | None = None
    data: str = "builtin"
    energy: bool = False

    def probes(self, bench: Bench, way: Way, factor: float = 1.0) -> Request:
        """For probes of layers at a resolution relative to the network's input."""
        height, width = (max(1, round(side * factor)) for side in self.size)
        return self._request(bench, way, PROBE, "layers", (height, width))

    def networks(self, bench: Bench, way: Way, **conditions: Any) -> Request:
        """For whole networks; ``conditions`` are fields of the scenario."""
        settings = {**WHOLE, "tile": self.tile, "sensors": self.energy, **conditions}
        return self._request(bench, way, settings, "fit", self.size)

    def forms(self, bench: Bench, way: Way) -> Request:
        """For one network in several forms, which are held against each other alone."""
        return self._request(bench, way, {**WHOLE, "tile": self.tile}, "forms", self.size)

    def _request(
        self, bench: Bench, way: Way, settings: dict[str, Any], name: str, size: tuple[int, int]
    ) -> Request:
        return Request(
            scenario=Scenario(name=name, description="", inputs=(size,), **settings),
            scale=self.scale,
            data=self.data,
            runtime=way.runtime,
            threads=self.threads,
            version=bench.version_of(way.runtime),
        )


def check_way(way: Way) -> None:
    """See that layers can be timed so.

    Raises:
        UserError: a precision that no probe has, or a runtime that takes no ONNX file.
    """
    if way.precision not in PRECISIONS:
        raise UserError(
            f"Layers cannot be timed in {way.precision}; choose among {', '.join(PRECISIONS)}."
        )
    row = RUNTIMES.get(way.runtime) if way.runtime else None
    if row is not None and ".onnx" not in row.suffixes:
        fitting = [r.name for r in RUNTIMES.values() if ".onnx" in r.suffixes and r.timed]
        raise UserError(
            f"Layers are timed through ONNX files, which {row.name} does not run; choose among "
            f"{', '.join(fitting)}."
        )
