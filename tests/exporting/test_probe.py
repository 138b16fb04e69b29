"""How far outputs may be apart."""

from __future__ import annotations

import numpy as np
import pytest

from srdeploy.exporting.probe import TOLERANCE, gap_between
from srdeploy.models.card import Card


def card(arch: str, value_range: float = 255.0) -> Card:
    return Card(arch=arch, scale=2, scales=(2,), channels=3, value_range=value_range)


def test_a_gap_is_relative_to_the_range_or_to_larger_outputs() -> None:
    expected = np.zeros((1, 3, 10, 10), np.float32)
    found = expected.copy()
    found[0, 0, 0, 0] = -2.55
    gap = gap_between(expected, found, 255.0)
    assert (gap.largest, gap.relative) == pytest.approx((2.55, 0.01))
    assert gap.rms == pytest.approx(0.01 / np.sqrt(300))
    assert gap.within(0.011, card("edsr"))
    assert not gap.within(0.009, card("edsr"))
    expected[0, 0, 5, 5] = 510
    found[0, 0, 5, 5] = 510
    assert gap_between(expected, found, 255.0).relative == pytest.approx(0.005)


def test_choices_of_smsr_may_turn_over_at_few_pixels() -> None:
    expected = np.zeros((1, 3, 20, 20), np.float32)
    few, shifted = expected.copy(), expected + 10
    few[0, :, 3, 3:5] = 10
    for found, arch, fine in (
        (few, "edsr", False),
        (few, "smsr", True),
        (shifted, "smsr", False),
        (np.full_like(few, np.nan), "smsr", False),
    ):
        assert gap_between(expected, found, 255.0).within(0.02, card(arch)) is fine


def test_in_float32_no_choice_may_turn_over() -> None:
    expected = np.zeros((1, 3, 20, 20), np.float32)
    found = expected.copy()
    found[0, 0, 3, 3] = 0.1
    gap = gap_between(expected, found, 255.0)
    assert gap.rms < TOLERANCE / 4
    assert not gap.within(TOLERANCE, card("smsr"))
