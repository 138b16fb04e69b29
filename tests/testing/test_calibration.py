"""The contract of calibration methods holds for the table, and can fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.precision.quantise_ranges import Statistics, minmax
from srdeploy.models.calibration import CALIBRATION_METHODS, CalibrationMethod
from srdeploy.models.quantised import Range
from srdeploy.testing.calibration import check_calibration_method


@pytest.mark.parametrize("name", CALIBRATION_METHODS)
def test_every_method_keeps_it(name: str) -> None:
    check_calibration_method(name)


def beyond(statistics: Statistics, symmetric: bool) -> Range:
    return minmax(statistics, symmetric).times(1.01)


def without_zero(statistics: Statistics, symmetric: bool) -> Range:
    return Range(statistics.low, statistics.high)


def endless(statistics: Statistics, symmetric: bool) -> Range:
    spread = statistics.high - statistics.low
    with np.errstate(invalid="ignore"):
        return minmax(statistics, symmetric).times(float(np.float64(spread) / spread))


def narrow(statistics: Statistics, symmetric: bool) -> Range:
    return minmax(statistics, symmetric).times(1e-6)


def lopsided(statistics: Statistics, symmetric: bool) -> Range:
    found = minmax(statistics, symmetric)
    return Range(found.low * 0.9, found.high)


def moody(statistics: Statistics, symmetric: bool) -> Range:
    return minmax(statistics, symmetric).times(float(np.random.default_rng().uniform(0.8, 1)))


def wearing(statistics: Statistics, symmetric: bool) -> Range:
    statistics.counts += 1
    return minmax(statistics, symmetric)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        (beyond, "begins below the lowest value"),
        (without_zero, "does not hold 0"),
        (endless, "is not finite"),
        (narrow, "covers "),
        (lopsided, "is not symmetric"),
        (moody, "and then"),
        (wearing, "it changes the histogram"),
    ],
)
def test_what_does_not_is_told(
    method: Callable[..., Range], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row: Any = CalibrationMethod("mine", "", f"{__name__}:{method.__name__}")
    monkeypatch.setattr(CalibrationMethod, "function", lambda _: method)
    monkeypatch.setitem(CALIBRATION_METHODS, "mine", row)
    with pytest.raises(AssertionError, match=why):
        check_calibration_method("mine")


def test_a_method_that_is_none_is_told() -> None:
    with pytest.raises(UserError, match="no calibration method named 'mze'"):
        check_calibration_method("mze")
