"""Limits beside time: energy, and what of all limits was not kept."""

from __future__ import annotations

import math

import pytest

from srdeploy.errors import UserError
from srdeploy.fitting.limits import EnergyModel, fit_energy


def test_energy_is_a_line_over_time() -> None:
    model = fit_energy(40.0, [(2.0, 25.0), (4.0, 35.0), (8.0, 55.0), (3.0, None)])
    assert model.mj(4.0) == pytest.approx(35.0)
    assert model.most_ms == pytest.approx(5.0)
    assert EnergyModel(40.0, ((2.0, 20.0),)).most_ms == pytest.approx(4.0)
    falling = EnergyModel(40.0, ((2.0, 21.0), (4.0, 19.0)))  # noise: power is no reward for time
    assert falling.mj(2.0) < falling.mj(4.0)
    assert EnergyModel(40.0, ((2.0, 0.0),)).most_ms == math.inf
    assert model.corrected(10.0, None) is model
    assert model.corrected(10.0, 90.0).most_ms < model.most_ms


def test_a_device_that_does_not_tell_keeps_no_limit() -> None:
    with pytest.raises(UserError, match="--max-mj cannot be kept"):
        fit_energy(40.0, [(2.0, None)])
