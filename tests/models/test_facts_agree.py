"""Which facts of a card agree with what is implied, at the tolerance."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.models import (
    facts,
)


@pytest.mark.parametrize(("off", "agrees"), [(0.0, True), (1.9e-4, True), (2.1e-4, False)])
def test_a_published_mean_stands_for_one_that_is_near(off: float, agrees: bool) -> None:
    for sign in (-1, 1):
        said = (0.4, 0.4 + sign * off, 0.4)
        assert facts._agree("mean_shift", said, (0.4, 0.4, 0.4), None) == agrees  # type: ignore[arg-type]
    assert not facts._agree("mean_shift", (0.4,), (0.4, 0.4), None)  # type: ignore[arg-type]
    assert not facts._agree("mean_shift", None, (0.4,), None)  # type: ignore[arg-type]
    assert facts._agree("mean_shift", None, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pre_upscaled", "said", "agrees"),
    [(True, (2, 3, 4, 5), True), (True, (2, 3), False), (False, (2, 3, 4), True),
     (False, (2, 3, 4, 5), False)],
)  # fmt: skip
def test_more_factors_are_for_what_is_upscaled_before(
    pre_upscaled: bool, said: tuple[int, ...], agrees: bool
) -> None:
    card: Any = SimpleNamespace(pre_upscaled=pre_upscaled)
    assert facts._agree("scales", said, (2, 3, 4), card) == agrees
