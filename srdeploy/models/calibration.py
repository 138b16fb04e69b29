"""The table of calibration methods: one row each.

The command line's help and completion, recipes, their schema, the documentation and the export to
8 bits are read off it. Looking at it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from srdeploy.util.plugins import code_of


@dataclass(frozen=True)
class CalibrationMethod:
    """A way to choose the interval of a tensor that 8 bits cover.

    Attributes:
        name: What is typed.
        summary: What the interval covers, one line.
        source: ``module:function``, imported when first needed. It takes the tensor's
            :class:`srdeploy.exporting.precision.quantise_ranges.Statistics`, and whether the grid
            will be symmetric around 0, and returns a :class:`srdeploy.models.quantised.Range`.
    """

    name: str
    summary: str
    source: str

    def function(self) -> Callable[[Any, bool], Any]:
        """The function."""
        return code_of(self.source)


CALIBRATION_METHODS: dict[str, CalibrationMethod] = {
    row.name: row
    for row in (
        CalibrationMethod(
            "minmax",
            "all values that occur; nothing is clipped",
            "srdeploy.exporting.precision.quantise_ranges:minmax",
        ),
        CalibrationMethod(
            "percentile",
            "the 99.99 % of the values around the median",
            "srdeploy.exporting.precision.quantise_ranges:percentile",
        ),
        CalibrationMethod(
            "entropy",
            "the interval whose rounded histogram has the least Kullback-Leibler divergence",
            "srdeploy.exporting.precision.quantise_ranges:entropy",
        ),
        CalibrationMethod(
            "mse",
            "the interval whose rounding and clipping together have the least mean squared error",
            "srdeploy.exporting.precision.quantise_ranges:mse",
        ),
    )
}

DEFAULT_CALIBRATION = "mse"
"""The method unless told."""
