"""PSNR over latency: word for word, and what has no place on the axes."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.reporting.sections import plot
from tests.golden import by_tags, same_as
from tests.reporting.material import data_of, measured

GOLDEN = Path(__file__).parents[1] / "golden"


def test_the_whole_section() -> None:
    same_as(GOLDEN / "plots.html", by_tags(plot.plot(data_of(*measured())) or ""))


@pytest.mark.parametrize("missing", [None, float("inf"), float("nan")])
def test_what_has_no_place_on_the_axis_is_not_drawn(missing: float | None) -> None:
    assert not plot._on_axis(missing)
    assert plot._on_axis(0.0)
