"""Eight bits: the grid of an interval, in its two forms."""

from __future__ import annotations

import numpy as np
import pytest

from srdeploy.models.quantised import SMALLEST_SCALE, STEPS, WEIGHT_STEPS, Quantised, Range


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [
        (0.0, 255.0, 1.0, 0),
        (-255.0, 0.0, 1.0, 255),
        (-51.0, 204.0, 1.0, 51),
        (10.0, 510.0, 2.0, 0),  # 0 is a step, even where it is outside
        (-510.0, -10.0, 2.0, 255),
        (-1.4, 253.6, 1.0, 1),
        (0.0, 0.0, SMALLEST_SCALE, 0),
    ],
)
def test_uint8_spends_all_steps_on_the_interval(
    low: float, high: float, scale: float, zero: int
) -> None:
    found, point = Range(low, high).grid("uint8")
    assert found == pytest.approx(scale)
    assert (found.dtype, point.dtype, int(point)) == (np.float32, np.uint8, zero)


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [(-127.0, 12.0, 1.0), (-5.0, 254.0, 2.0), (3.0, 127.0, 1.0), (0.0, 0.0, SMALLEST_SCALE)],
)
def test_int8_is_symmetric(low: float, high: float, scale: float) -> None:
    found, point = Range(low, high).grid("int8")
    assert found == pytest.approx(scale)
    assert (found.dtype, point.dtype, int(point)) == (np.float32, np.int8, 0)


def test_the_steps_are_those_of_8_bits() -> None:
    for name in ("uint8", "int8"):
        kind = np.iinfo(name)
        assert STEPS[name] == (kind.min, kind.max)  # type: ignore[index]
    assert np.iinfo("int8").max == WEIGHT_STEPS
    assert 0 < SMALLEST_SCALE <= 1e-9


def test_intervals_scale() -> None:
    assert Range(-1.0, 2.0).times(3.0) == Range(-3.0, 6.0)


def test_what_fine_tuning_found_is_kept_as_it_is() -> None:
    found = Quantised(activations="uint8", layers=("a",), ranges={"a": (0, 1)}, weights_sha256="x")
    assert Quantised.model_validate_json(found.model_dump_json()) == found
    for wrong in ({"activations": "int4"}, {"more": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Quantised(**{**found.model_dump(), **wrong})
    with pytest.raises(ValueError, match="frozen"):
        found.layers = ()  # type: ignore[misc]
