from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from srdeploy.errors import SrdeployError
from srdeploy.models.card import Card
from srdeploy.runtime.session import Session, default_threads


class Nearest(Session):
    """Repeats pixels ``factor`` times, whatever its card promises."""

    runtime: ClassVar[str] = "fake"

    def __init__(self, card: Card, factor: int = 2, threads: int | None = None) -> None:
        super().__init__(card, threads)
        self.factor = factor
        self.closed = False

    def _run(self, x: np.ndarray) -> np.ndarray:
        assert x.flags.c_contiguous
        return x.repeat(self.factor, axis=2).repeat(self.factor, axis=3)

    def close(self) -> None:
        self.closed = True


def card(**fields: object) -> Card:
    return Card(
        **{"arch": "t", "scale": 2, "scales": (2,), "channels": 3, "value_range": 1.0} | fields
    )


def test_it_is_a_context_manager() -> None:
    with Nearest(card()) as session:
        x = np.zeros((2, 3, 4, 6), np.float32)
        assert session.run(x.transpose(0, 1, 3, 2)).shape == (2, 3, 12, 8)
    assert session.closed


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((1, 3, 4, 4)), "float32"),
        (np.zeros((3, 4, 4), np.float32), "float32"),
        (np.zeros((1, 1, 4, 4), np.float32), r"\[N, 3, H, W\]"),
        (np.zeros((1, 3, 4, 5), np.float32), "multiples of 2"),
    ],
)
def test_input_is_checked(x: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Nearest(card(size_multiple=2)).run(x)


def test_a_network_that_breaks_its_card_is_caught() -> None:
    with pytest.raises(SrdeployError, match=r"scale 2.*promises \(1, 3, 8, 8\)"):
        Nearest(card(), factor=3).run(np.zeros((1, 3, 4, 4), np.float32))


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert default_threads() == 3
    assert Nearest(card()).threads == 3
    assert Nearest(card(), threads=5).threads == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert default_threads() >= 1
    with pytest.raises(ValueError, match="at least one thread"):
        Nearest(card(), threads=0)
