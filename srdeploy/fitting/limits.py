"""What else than time is limited: energy, and what of all limits a final artifact does not keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from srdeploy.errors import UserError
from srdeploy.fitting.result import FitOptions
from srdeploy.measure.measurement import Measurement


@dataclass(frozen=True)
class EnergyModel:
    """Millijoules of an image by its milliseconds: what a way to run networks draws all the time.

    Attributes:
        limit: Millijoules that an image may take.
        seen: Networks that were measured: milliseconds and millijoules.
    """

    limit: float
    seen: tuple[tuple[float, float], ...]

    def mj(self, ms: float) -> float:
        """The prediction."""
        base, each = self._line()
        return base + each * ms

    @property
    def most_ms(self) -> float:
        """The time of an image that takes what it may; infinite where time costs nothing."""
        base, each = self._line()
        return (self.limit - base) / each if each > 0 else math.inf

    def corrected(self, ms: float, mj: float | None) -> EnergyModel:
        """With one more network."""
        return self if mj is None else replace(self, seen=(*self.seen, (ms, mj)))

    def _line(self) -> tuple[float, float]:
        """A least-squares line; through nothing where its rise would be none or its start below."""
        ms, mj = np.array(self.seen).T
        if len(ms) > 1 and np.ptp(ms) > 0:
            each, base = (float(x) for x in np.polyfit(ms, mj, 1))
            if each > 0 and base >= 0:
                return base, each
        return 0.0, float(np.dot(ms, mj) / np.dot(ms, ms))


def fit_energy(limit: float, observed: Sequence[tuple[float, float | None]]) -> EnergyModel:
    """A model from whole networks: milliseconds, and millijoules of an image.

    Raises:
        UserError: the device does not tell.
    """
    seen = tuple((ms, mj) for ms, mj in observed if mj is not None)
    if not seen:
        raise UserError(
            "--max-mj cannot be kept: the device does not tell how much power it draws."
        )
    return EnergyModel(limit, seen)


def energy_mj(measured: Measurement) -> float | None:
    """Millijoules of an image; None where the device does not tell."""
    return None if measured.power is None else 1e3 * measured.power.energy_j_per_frame


def keeps(measured: Measurement, budget: float, options: FitOptions) -> bool:
    """Whether a measurement is within the budget of time, and of energy where there is one."""
    mj = energy_mj(measured)
    drawn = options.max_mj is None or mj is None or mj <= options.max_mj
    return drawn and (measured.p50_ms or 0.0) <= budget


def shortfall(
    measured: Measurement, budget: float, options: FitOptions, corrections: int
) -> list[str]:
    """Sentences on what was asked for and is not so.

    Args:
        measured: The final artifact.
        budget: Milliseconds.
        options: What was asked for.
        corrections: How often it was tried.
    """
    told: list[str] = []
    ms, quality, mj = measured.p50_ms or 0.0, measured.quality, energy_mj(measured)
    wanted, limit = options.min_psnr, options.max_mb
    if ms > budget:
        told.append(
            f"{ms:.3g} ms is {ms / budget - 1:.1%} above the budget of {budget:g} ms, after "
            f"{corrections} corrections; measure on a quiet device, or give a larger budget"
        )
    if wanted is not None and quality is not None and quality.psnr < wanted:
        told.append(
            f"{quality.psnr:.2f} dB is below the {wanted:g} dB of --min-psnr; recover longer "
            "(--recover MINUTES), or give a larger budget"
        )
    if limit is not None and measured.peak_mb is not None and measured.peak_mb > limit:
        told.append(f"{measured.peak_mb:.0f} MB is above the {limit:g} MB of --max-mb")
    if options.max_mj is not None and (mj is None or mj > options.max_mj):
        drawn = "the device told no energy" if mj is None else f"{mj:.3g} mJ"
        told.append(f"{drawn}: the {options.max_mj:g} mJ of --max-mj are not kept")
    return told
