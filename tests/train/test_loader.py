from __future__ import annotations

import threading
import time

import pytest
import torch

from srdeploy.train.loader import Loader
from srdeploy.train.patches import PatchBatch


class Counting:
    digest = ""

    def batch(self, iteration: int) -> PatchBatch:
        if iteration == 90:
            raise RuntimeError("unreadable")
        value = torch.tensor([[[[iteration]]]])
        return PatchBatch(value, value, 1.0)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order(workers: int) -> None:
    loader = Loader(Counting(), 3, 40, workers)
    assert [int(batch.inputs) for batch in loader] == list(range(3, 40))
    assert loader.reset_times().worked > 0
    assert loader.times.worked == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_reach_the_training_thread(workers: int) -> None:
    with pytest.raises(RuntimeError, match="unreadable"):
        list(Loader(Counting(), 85, 100, workers))


def test_leaving_early_ends_the_threads() -> None:
    for _ in Loader(Counting(), 0, 50, 2):
        break
    assert not [t for t in threading.enumerate() if t.name.startswith("patches")]


class Slow(Counting):
    """Each batch is worked at, then waited for."""

    def batch(self, iteration: int) -> PatchBatch:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        time.sleep(0.03)
        return super().batch(iteration)


@pytest.mark.parametrize("workers", [0, 1])
def test_times_are_those_of_the_clock_and_of_the_work(workers: int) -> None:
    loader = Loader(Slow(), 0, 6, workers)
    began = time.perf_counter()
    for _ in loader:
        pass
    elapsed = time.perf_counter() - began
    times = loader.reset_times()
    assert 0.12 <= times.worked < min(0.3, elapsed)  # sleeping is no work
    if workers:
        assert 0.15 < times.waited <= elapsed
    else:
        assert times.waited == times.worked
    assert (loader.times.waited, loader.times.worked) == (0.0, 0.0)


@pytest.mark.parametrize("workers", [1, 3])
def test_so_many_batches_are_made_in_advance(workers: int) -> None:
    made: list[int] = []

    class Noted(Counting):
        def batch(self, iteration: int) -> PatchBatch:
            made.append(iteration)
            return super().batch(iteration)

    batches = iter(Loader(Noted(), 0, 60, workers))
    next(batches)
    deadline = time.monotonic() + 5
    while len(made) < 2 * workers + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(made) == list(range(2 * workers + 1))
    batches.close()


def test_pages_are_locked_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[PatchBatch] = []
    monkeypatch.setattr(PatchBatch, "pinned", lambda self: locked.append(self) or self)
    list(Loader(Counting(), 0, 2, 0))
    assert locked == []
    list(Loader(Counting(), 0, 2, 1, pin=True))
    assert len(locked) == 2
