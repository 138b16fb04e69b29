"""How a device slows down under a load that lasts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from srdeploy.benchmarking.measuring.stats import rounds_of, unpaired_ratio
from srdeploy.measure.measurement import Measurement

LEAST_SECONDS = 60.0
"""Drift of a shorter run is mostly noise."""

SHARE = 0.1
"""Of the time: the beginning and the end that are compared."""


@dataclass(frozen=True)
class Drift:
    """Times slower at the end than at the beginning, with its 95 % interval; None where untold."""

    drift: float | None = None
    drift_low: float | None = None
    drift_high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """For a row."""
        return asdict(self)


def drift_of(measurement: Measurement) -> Drift:
    """Compare the first and the last tenth of a measurement, turn by turn."""
    rounds = rounds_of(measurement)
    total = sum(measurement.samples_ms)
    if total < LEAST_SECONDS * 1e3:
        return Drift()
    first: list[list[float]] = []
    last: list[list[float]] = []
    passed = 0.0
    for one in rounds:
        middle = passed + sum(one) / 2
        if middle <= SHARE * total:
            first.append(one)
        elif middle >= (1 - SHARE) * total:
            last.append(one)
        passed += sum(one)
    if not first or not last:
        return Drift()
    ratio = unpaired_ratio([first], [last])
    return Drift() if ratio is None else Drift(*ratio.rounded())
