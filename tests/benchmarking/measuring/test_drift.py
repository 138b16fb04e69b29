from __future__ import annotations

import numpy as np
import pytest

from srdeploy.benchmarking.measuring.row import Drift, drift_of
from srdeploy.measure.measurement import DeviceFacts, Measurement
from srdeploy.measure.scenario import Scenario


def made(samples: list[float], per_turn: int) -> Measurement:
    return Measurement(
        artifact="a",
        device="d",
        facts=DeviceFacts(kind="fake", model="m"),
        scenario=Scenario(),
        started="2026-01-01T00:00:00+00:00",
        samples_ms=samples,
        turns=[per_turn] * (len(samples) // per_turn),
    )


def test_a_device_that_throttles() -> None:
    """100 ms for half of the time, then 150."""
    noise = np.random.default_rng(0).normal(1, 0.02, 6000)
    samples = (np.where(np.arange(6000) < 3600, 100, 150) * noise).tolist()
    drift = drift_of(made(samples, 50))
    assert drift.drift == pytest.approx(1.5, rel=0.02)
    assert drift.drift_low is not None
    assert drift.drift_high is not None
    assert 1.4 < drift.drift_low < 1.5 < drift.drift_high < 1.6


def test_a_steady_device() -> None:
    samples = (100 * np.random.default_rng(0).normal(1, 0.02, 6000)).tolist()
    drift = drift_of(made(samples, 50))
    assert drift.drift_low is not None
    assert drift.drift_high is not None
    assert drift.drift_low < 1 < drift.drift_high


def test_short_runs_tell_none() -> None:
    assert drift_of(made([100.0] * 50, 5)) == Drift()
    assert drift_of(made([70_000.0], 1)) == Drift()
