from __future__ import annotations

import pytest
import torch

from srdeploy.sparse.breakeven import blobs, crossing
from srdeploy.sparse.costs import FormCosts, Line, Timings


def test_line_through_points() -> None:
    line = Line.through((10, 3.0), (20, 5.0))
    assert line.at(30) == pytest.approx(7.0)
    assert Line.through((10, 3.0), (20, 2.0)).slope == 0  # noise never makes more work cheaper
    assert Line.through((10, 1.0), (20, 5.0)).fixed == 0


def test_break_even() -> None:
    costs = FormCosts(Line(0, 1e-3), Line(0, 5e-3), Line(0, 3e-3))
    assert costs.break_even(1000) == pytest.approx(0.5)
    assert costs.choose(1000, 0.45) == "rows"
    assert costs.choose(1000, 0.51) == "dense"
    always = FormCosts(Line(0, 1e-3), Line(0, 2e-3), Line(0, 3e-3))
    never = FormCosts(Line(9, 0), Line(9, 1e-3), Line(0, 1e-3))
    assert always.break_even(1000) == 1.0
    assert never.break_even(1000) == 0.0


def test_crossing_interpolates() -> None:
    assert crossing([0.0, 0.5, 1.0], [1.0, 2.0, 4.0], 3.0) == pytest.approx(0.75)
    assert crossing([0.0, 1.0], [1.0, 2.0], 3.0) == 1.0
    assert crossing([0.0, 1.0], [4.0, 5.0], 3.0) == 0.0


@pytest.mark.parametrize("density", [0.0, 0.13, 1.0])
def test_blobs_have_the_density(density: float) -> None:
    mask = blobs(50, density, torch.Generator().manual_seed(0))
    assert float(mask.float().mean()) == pytest.approx(density, abs=1e-3)


def test_timings_take_turns() -> None:
    order: list[str] = []
    timings = Timings()
    timings.note("a", 1, lambda: order.append("a"))
    timings.note("b", 1, lambda: order.append("b"))
    timings.take(2)
    assert order == ["a", "a", "b", "b"] * 2
    assert timings.points["a"][0][1] >= 0
