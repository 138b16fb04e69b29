"""The networks that come with the package, with their figures and, if asked, their speed here."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from srdeploy.benchmarking.measuring.run import bench
from srdeploy.exporting.run import export
from srdeploy.measure.scenario import Scenario
from srdeploy.models.count import count
from srdeploy.models.load import load_network
from srdeploy.util.progress import track
from srdeploy.util.shipped import shipped_networks

RUNTIME = "onnxruntime"


@dataclass(frozen=True)
class Shipped:
    """A network of the zoo.

    Attributes:
        name: What commands take in place of a file.
        scale: Upscaling factor.
        params: Parameters.
        macs_720p: Multiply-accumulates for a 1280x720 output.
        bytes: Of the file.
        quality: By set: ``psnr_y`` (dB), ``ssim_y``, ``n_images``, ``protocol``, measured on these
            weights and stored with them.
        p50_ms: Median latency on this machine, if it was asked for; ``speedup`` (with its 95 %
            interval) is how many times faster than the scale's first network it was in turns.
    """

    name: str
    scale: int
    params: int
    macs_720p: int
    bytes: int
    quality: dict[str, Any]
    p50_ms: float | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def shipped() -> list[Shipped]:
    """All networks of the zoo: by scale, the largest first."""
    found = []
    for name, path in shipped_networks().items():
        network = load_network(name)
        size = count(network)
        found.append(
            Shipped(name, network.card.scale, size.params, size.macs_720p, path.stat().st_size,
                    network.card.quality)
        )  # fmt: skip
    return sorted(found, key=lambda row: (row.scale, -row.macs_720p))


def timed(rows: list[Shipped], scenario: Scenario, threads: int | None = None) -> list[Shipped]:
    """The rows with the latency of the exported ONNX here, the networks of a scale in turns."""
    done: list[Shipped] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        track("Timing", len({row.scale for row in rows})) as bar,
    ):
        for scale in sorted({row.scale for row in rows}):
            family = [row for row in rows if row.scale == scale]
            paths = [str(Path(folder) / f"{row.name}.onnx") for row in family]
            for row, path in zip(family, paths, strict=True):
                export(load_network(row.name), "onnx", path)
            measured = bench(
                paths, data="builtin", scale=scale, scenario=scenario, runtime=RUNTIME,
                threads=threads,
            )  # fmt: skip
            names = ("p50_ms", "speedup", "speedup_low", "speedup_high")
            done += [
                replace(row, **{name: getattr(m, name) for name in names})
                for row, m in zip(family, measured, strict=True)
            ]
            bar.update(1)
    return done
