"""Artifacts side by side: latency and quality, how far their outputs are apart, and from where on.

The first artifact is what the others are held against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srdeploy.benchmarking.measuring.inputs import choose_image
from srdeploy.benchmarking.measuring.row import Row
from srdeploy.benchmarking.measuring.run import bench
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.layer_differences import TOLERANCE, LayerDifferences, find_layer_differences
from srdeploy.exporting.layers import Activations, activations_of
from srdeploy.measure.scenario import Scenario
from srdeploy.quality.metrics import lost, psnr
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import network_input, upscale_rgb

LAYER_SIDE = 64
"""Height and width that layers are compared at: all of them are in memory at once."""


@dataclass(frozen=True)
class OutputDifference:
    """How far an artifact is from the first one, on the same image.

    Attributes:
        levels: Largest |difference| of the two pictures in 8-bit levels, before rounding.
        psnr_db: PSNR between the two pictures (infinite when they are equal).
        psnr_drop_db: Loss of mean PSNR on the set against the first; None without a comparable
            figure of both.
        divergence: Layer by layer; None while the pictures agree within :data:`TOLERANCE`.
        note: Why something is missing; None otherwise.
    """

    levels: float | None = None
    psnr_db: float | None = None
    psnr_drop_db: float | None = None
    divergence: LayerDifferences | None = None
    note: str | None = None


@dataclass(frozen=True)
class Comparison:
    """The result: one row and one parity per artifact, in the order given; the first has none."""

    rows: list[Row]
    parities: list[OutputDifference | None] = field(default_factory=list)

    def to_dict(self) -> list[dict[str, Any]]:
        """Plain data, for JSON: each row with its parity."""
        return [
            row.model_dump(mode="json") | {"parity": None if parity is None else asdict(parity)}
            for row, parity in zip(self.rows, self.parities, strict=True)
        ]


def compare(
    artifacts: Sequence[str],
    *,
    data: str | Path,
    scale: int,
    scenario: Scenario | None = None,
    threads: int | None = None,
    options: dict[str, Any] | None = None,
    dense: str | None = None,
) -> Comparison:
    """Measure artifacts as :mod:`srdeploy.benchmarking.measuring.run` does; compare their outputs.

    Args:
        artifacts: Two or more files or shipped networks; the first is the reference.
        data: Benchmark folder, or ``builtin``.
        scale: Upscaling factor.
        scenario: Conditions of the measurement.
        threads: CPU threads.
        options: More arguments of ``open_session`` (``arch``, ``value_range``).
        dense: The network from which they were made, for the metrics that compare with it.

    Raises:
        UserError: fewer than two artifacts, or the first cannot be run at all.
    """
    if len(artifacts) < 2:
        raise UserError("One artifact compares with nothing; name two or more.")
    scenario = scenario or Scenario()
    options = options or {}
    size = None if scenario.input == "median" else scenario.input
    lr = choose_image(data, scale, size)
    # Before the measurement, so that a reference that cannot run is known at once.
    reference = picture(artifacts[0], lr, scale, threads, options)
    rows = bench(
        artifacts, data=data, scale=scale, scenario=scenario, threads=threads, options=options,
        dense=dense,
    )  # fmt: skip
    parities: list[OutputDifference | None] = [None]
    for artifact, row in zip(artifacts[1:], rows[1:], strict=True):
        drop = psnr_drop(rows[0], row)
        try:
            other = picture(artifact, lr, scale, threads, options)
        except SrdeployError as error:
            parities.append(OutputDifference(psnr_drop_db=drop, note=str(error)))
            continue
        levels = float(np.abs(other - reference).max())
        divergence = None
        if not levels / 255 <= TOLERANCE:
            divergence = compare_layers(artifacts[0], artifact, lr, scale, options)
        parities.append(OutputDifference(levels, psnr(other, reference), drop, divergence))
    return Comparison(rows, parities)


def picture(
    artifact: str,
    lr: NDArray[np.uint8],
    scale: int,
    threads: int | None,
    options: dict[str, Any],
) -> NDArray[np.float64]:
    """What an artifact makes of an image: [H, W, 3], 0..255, neither rounded nor clipped."""
    with open_session(artifact, scale=scale, threads=threads, **options) as session:
        return np.asarray(upscale_rgb(session, lr, scale), np.float64)


def psnr_drop(first: Row, other: Row) -> float | None:
    """Loss of mean PSNR, dB; None where the two were not measured under one protocol."""
    if first.protocol is None or first.protocol != other.protocol:
        return None
    before, after = first.figure("psnr"), other.figure("psnr")
    return None if before is None or after is None else lost(before, after)


def compare_layers(
    first: str, other: str, lr: NDArray[np.uint8], scale: int, options: dict[str, Any]
) -> LayerDifferences:
    """Find the layer where two artifacts part, on the middle of an image.

    Never raises for an artifact that cannot be looked into: the note says so.
    """
    try:
        reference = _layers(first, lr, scale, options)
        return find_layer_differences(reference, _layers(other, lr, scale, options))
    except SrdeployError as error:
        return LayerDifferences(None, None, [], 0, str(error))


def _layers(
    artifact: str, lr: NDArray[np.uint8], scale: int, options: dict[str, Any]
) -> Activations:
    with open_session(artifact, scale=scale, threads=1, **options) as session:
        card = session.card
    top, left = (max(0, (n - LAYER_SIDE) // 2) for n in lr.shape[:2])
    patch = np.ascontiguousarray(lr[top : top + LAYER_SIDE, left : left + LAYER_SIDE])
    x = network_input(card, patch, scale)
    return activations_of(artifact, x, arch=options.get("arch"), scale=scale)
