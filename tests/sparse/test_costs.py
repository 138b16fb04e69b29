from __future__ import annotations

import pytest

from srdeploy.sparse import costs as module
from srdeploy.sparse.costs import MARGIN, CostLine, FormCosts, Timings


def test_line_through_points() -> None:
    line = CostLine.through((10, 3.0), (20, 5.0))
    assert (line.fixed, line.slope) == (pytest.approx(1.0), pytest.approx(0.2))
    assert line.at(30) == pytest.approx(7.0)
    flat = CostLine.through((10, 3.0), (20, 2.0))  # noise never makes more work cheaper
    assert (flat.fixed, flat.slope) == (3.0, 0)
    steep = CostLine.through((10, 1.0), (20, 5.0))
    assert (steep.fixed, steep.slope) == (0, pytest.approx(0.4))
    assert CostLine(1, 2) + CostLine(10, 20) == CostLine(11, 22)


def test_costs_of_rows_lie_between_empty_and_full() -> None:
    costs = FormCosts(CostLine(1, 1e-3), CostLine(2, 5e-3), CostLine(0, 3e-3))
    assert costs.rows(1000, 0.0) == pytest.approx(2)
    assert costs.rows(1000, 1.0) == pytest.approx(7)
    assert costs.rows(1000, 0.25) == pytest.approx(3.25)
    noisy = FormCosts(CostLine(5, 0), CostLine(4, 0), CostLine(9, 0))  # full below empty: noise
    assert noisy.rows(1000, 1.0) == 5


def test_break_even() -> None:
    costs = FormCosts(CostLine(0, 1e-3), CostLine(0, 5e-3), CostLine(0, 3e-3))
    assert costs.break_even(1000) == pytest.approx(0.5)
    assert costs.choose(1000, 0.45) == "rows"
    assert costs.choose(1000, 0.51) == "dense"
    always = FormCosts(CostLine(0, 1e-3), CostLine(0, 2e-3), CostLine(0, 3e-3))
    never = FormCosts(CostLine(9, 0), CostLine(9, 1e-3), CostLine(0, 1e-3))
    assert always.break_even(1000) == 1.0
    assert never.break_even(1000) == 0.0
    for dense, share in ((4.0, 0.0), (5.0, 1.0), (6.0, 1.0)):  # what is inside costs nothing
        assert FormCosts(CostLine(5, 0), CostLine(4, 0), CostLine(dense, 0)).break_even(10) == share


def test_rows_are_taken_where_they_take_less_than_their_share() -> None:
    assert MARGIN == 0.95
    for rows, form in ((94.9, "rows"), (95.0, "rows"), (95.1, "dense")):
        assert (
            FormCosts(CostLine(rows, 0), CostLine(rows, 0), CostLine(100, 0)).choose(1, 0.5) == form
        )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still unless told: seconds."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    return now


def test_the_second_run_of_a_turn_counts_and_the_shortest_turn(clock: list[float]) -> None:
    took = {"a": iter([9.0, 0.5, 9.0, 0.25, 9.0, 0.75]), "b": iter([0.1, 2.0, 0.1, 3.0, 0.1, 4.0])}
    order: list[str] = []

    def run(name: str) -> None:
        order.append(name)
        clock[0] += next(took[name])

    timings = Timings()
    timings.note("a", 10, lambda: run("a"))
    timings.note("b", 20, lambda: run("b"))
    timings.take(3)
    assert order == ["a", "a", "b", "b"] * 3
    assert timings.points == {"a": [(10, pytest.approx(250))], "b": [(20, pytest.approx(2000))]}
    timings.take()  # nothing waits any more
    assert len(order) == 12


def test_lines_of_what_was_timed(clock: list[float]) -> None:
    timings, runs = Timings(), []

    def work(seconds: float) -> None:
        runs.append(seconds)
        clock[0] += seconds

    for pixels, seconds in ((10, 0.003), (15, 9.0), (20, 0.005)):
        timings.note("a", pixels, lambda seconds=seconds: work(seconds))
        timings.take()
    assert len(runs) == 3 * 2 * module.REPEATS
    line = timings.line("a")  # the first and the last
    assert (line.fixed, line.slope) == (pytest.approx(1.0), pytest.approx(0.2))
