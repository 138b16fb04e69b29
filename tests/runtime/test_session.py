from __future__ import annotations

import os
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


@pytest.mark.parametrize(
    ("value", "threads"), [("4", 4), (" 2 ,8", 2), ("1", 1), ("0", None), ("-3", None),
                           ("many", None), ("", None), ("²", None)],
)  # fmt: skip
def test_threads_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, threads: int | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5, 7, 11}, raising=False)
    assert default_threads() == (threads or 3)


def test_systems_without_affinity_count_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for told, threads in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda told=told: told)
        assert default_threads() == threads


@pytest.mark.parametrize("shape", [(1, 3, 5, 4), (1, 3, 4, 5), (1, 3, 6, 3)])
def test_both_sides_are_multiples(shape: tuple) -> None:
    session = Nearest(card(size_multiple=2))
    session.run(np.zeros((1, 3, 6, 4), np.float32))
    with pytest.raises(ValueError, match=r"height and width must be multiples of 2, got \(1, 3,"):
        session.run(np.zeros(shape, np.float32))


def test_results_of_every_wrong_shape_are_caught() -> None:
    x = np.zeros((2, 3, 4, 6), np.float32)
    for cut in (np.s_[:1], np.s_[:, :2], np.s_[:, :, 1:], np.s_[:, :, :, 1:], np.s_[0]):
        session = Nearest(card())
        session._run = lambda x, cut=cut: x.repeat(2, 2).repeat(2, 3)[cut]  # type: ignore[method-assign]
        with pytest.raises(SrdeployError, match=r"The t network returned .* under fake; its card"):
            session.run(x)


def test_what_a_session_is_unless_told() -> None:
    session = Nearest(card(), threads=1)
    assert (session.sizes, session.precision, session.notes) == (None, None, ())
    assert session.threads == 1
    Session.close(session)
    assert session.run(np.zeros((1, 3, 1, 1), np.float32)).shape == (1, 3, 2, 2)


def test_it_is_closed_when_its_user_fails() -> None:
    with pytest.raises(KeyError), Nearest(card()) as session:
        raise KeyError
    assert session.closed
