"""The choice of widths, against trying out all of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srdeploy.fitting.solve import Layer, Problem, fastest, solve
from srdeploy.fitting.uses import Width


def _cost(seed: int, block: int) -> object:
    """A table of times that depends on both widths, rounded up to blocks, in no simple way."""

    def cost(inputs: int, outputs: int) -> float:
        key = (seed, -(-inputs // block), -(-outputs // block))
        return random.Random(repr(key)).uniform(0.1, 2.0)

    return cost


def _every(problem: Problem) -> list[dict[str, int]]:
    names = list(problem.options)
    every = (
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(problem.options[name] for name in names))
    )
    return [one for one in every if not all(one.get(n) for n in ("outer", "inner"))]


def _problem(seed: int) -> Problem:
    drawn = random.Random(seed)
    names = [f"g{n}" for n in range(drawn.randint(1, 4))]
    options = {n: sorted({0, *(drawn.randint(1, 7) for _ in range(2))}) for n in names}
    errors = {n: sorted(drawn.uniform(0, 1) for _ in options[n]) for n in names}

    def width() -> Width:
        parts = drawn.sample(names, drawn.randint(0, min(2, len(names))))
        return Width(8 * max(1, len(parts)), tuple((name, 1.0) for name in sorted(parts)))

    blocks = [("outer", "inner"), ("outer",), ("lone",), ()]
    layers = [
        Layer(width(), width(), _cost(drawn.randint(0, 9), 2), drawn.choice(blocks))
        for _ in range(5)
    ]
    for name in drawn.sample(["outer", "inner", "lone"], drawn.randint(0, 3)):
        options[name], errors[name] = [0, 1], [0.0, drawn.uniform(0, 1)]
    return Problem(options, errors, layers, constant=0.5, block=2, apart=[("outer", "inner")])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.0, 1.0))
def test_no_choice_within_the_budget_is_better(seed: int, share: float) -> None:
    problem = _problem(seed)
    tried = _every(problem)
    times = sorted(problem.ms(one) for one in tried)
    budget = times[0] + share * (times[-1] - times[0]) + 1e-6
    found = solve(problem, budget)
    best = min(problem.error(one) for one in tried if problem.ms(one) <= budget)
    assert found is not None
    assert problem.ms(found) <= budget + 1e-5
    assert problem.error(found) == pytest.approx(best, abs=1e-5)
    assert problem.ms(fastest(problem)) == pytest.approx(times[0], abs=1e-5)
    assert solve(problem, times[0] - 1e-3) is None


def test_a_budget_that_all_meet_removes_nothing() -> None:
    problem = _problem(3)
    generous = Problem(
        problem.options,
        {n: [0.0, *values[1:]] for n, values in problem.errors.items()},
        problem.layers,
    )
    assert solve(generous, 1e3) == {}


def test_a_block_that_is_gone_takes_no_time_whatever_its_widths() -> None:
    wide, narrow = Width(16, (("a", 1.0),)), Width(16, (("b", 1.0),))
    layers = [
        Layer(wide, narrow, lambda i, o: float(i + o), ("block",)),
        Layer(narrow, Width(3), lambda i, o: float(i), ("block",)),
        Layer(Width(3), Width(3), lambda i, o: 5.0, ("block",)),
        Layer(Width(3), wide, lambda i, o: float(o)),
    ]
    options = {"a": [0, 8], "b": [0, 8], "block": [0, 1]}
    errors = {"a": [0.0, 3.0], "b": [0.0, 0.1], "block": [0.0, 1.0]}
    problem = Problem(options, errors, layers)
    assert solve(problem, 69.0) == {}
    assert solve(problem, 68.9) == {"b": 8}  # 53 ms
    assert solve(problem, 50.0) == {"block": 1}  # 16 ms, and b costs nothing there
    assert solve(problem, 15.0) == {"a": 8, "block": 1}


def test_what_is_not_allowed_is_not_chosen() -> None:
    wide, narrow = Width(16, (("a", 1.0),)), Width(16, (("b", 1.0),))

    def cost(inputs: int, outputs: int) -> float:
        return float("inf") if inputs + outputs > 24 else 1.0

    options = {"a": [0, 8], "b": [0, 8]}
    errors: Mapping[str, list[float]] = {"a": [0.0, 1.0], "b": [0.0, 2.0]}
    assert solve(Problem(options, errors, [Layer(wide, narrow, cost)]), 5.0) == {"a": 8}
