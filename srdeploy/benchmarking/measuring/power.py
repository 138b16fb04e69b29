"""Sensor readings to power: of an artifact that shares the device's time with others."""

from __future__ import annotations

from collections.abc import Sequence

from srdeploy.measure.measurement import Power, Reading

Window = tuple[float, float]
"""Seconds from and to between which one artifact alone was running."""


def within(readings: Sequence[Reading], windows: Sequence[Window]) -> list[Reading]:
    """The readings taken while this artifact ran, in order."""
    return [
        reading
        for reading in readings
        if any(start <= reading.seconds <= end for start, end in windows)
    ]


def busy(readings: Sequence[Reading]) -> list[Reading]:
    """Those taken while the GPU worked, where its load is told; otherwise all.

    A turn of trtexec begins with seconds of loading, during which the board draws little.
    """
    loads = [reading.load_percent.get("gpu", 0.0) for reading in readings]
    top = max(loads, default=0.0)
    return [r for r, load in zip(readings, loads, strict=True) if load >= top / 2]


def power_of(
    readings: Sequence[Reading],
    rails: Sequence[str],
    samples_ms: Sequence[float],
    batch: int = 1,
) -> Power | None:
    """Summarise power over the readings of an artifact's own turns.

    Args:
        readings: See :func:`within`; of them, those of :func:`busy`.
        rails: Those whose sum is the device's total.
        samples_ms: End-to-end times: runs follow one another, so their mean is the time from one
            to the next.
        batch: Images per run.

    Returns:
        None where the device does not tell: no rails, or no reading that has them all.
    """
    totals = [
        sum(reading.power_w[rail] for rail in rails)
        for reading in busy(readings)
        if rails and all(rail in reading.power_w for rail in rails)
    ]
    if not totals or not samples_ms:
        return None
    mean = sum(totals) / len(totals)
    seconds_per_image = sum(samples_ms) / len(samples_ms) / 1e3 / batch
    return Power(
        mean_w=round(mean, 4),
        peak_w=round(max(totals), 4),
        energy_j_per_frame=round(mean * seconds_per_image, 6),
        rails=tuple(rails),
        source=f"the device's own {' + '.join(rails)}, idling included",
        readings=len(totals),
    )
