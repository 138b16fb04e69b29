from __future__ import annotations

import pytest

from srdeploy.train.recipe import Constant, Cosine, Step
from srdeploy.train.schedule import learning_rate


def test_constant_after_warm_up() -> None:
    rates = [learning_rate(0.4, Constant(warmup=4), i, 10) for i in range(6)]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_step_every() -> None:
    schedule = Step(kind="step", every=3, factor=0.1)
    rates = [learning_rate(1.0, schedule, i, 9) for i in range(9)]
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


def test_milestones_in_any_order() -> None:
    schedule = Step(kind="step", milestones=(5, 2), factor=0.5)
    rates = [learning_rate(1.0, schedule, i, 9) for i in (0, 1, 2, 4, 5, 8)]
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.25, 0.25])


def test_cosine_runs_from_the_warm_ups_end_to_the_final_rate() -> None:
    schedule = Cosine(kind="cosine", warmup=10, final=0.1)
    assert learning_rate(2.0, schedule, 4, 110) == pytest.approx(1.0)
    assert learning_rate(2.0, schedule, 10, 110) == pytest.approx(2.0)
    assert learning_rate(2.0, schedule, 60, 110) == pytest.approx(2.0 * 0.55)
    assert learning_rate(2.0, schedule, 110, 110) == pytest.approx(0.2)
