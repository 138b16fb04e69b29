from __future__ import annotations

import threading

import pytest
import torch

from srdeploy.train.loader import Loader
from srdeploy.train.patches import Batch


class Counting:
    digest = ""

    def batch(self, iteration: int) -> Batch:
        if iteration == 90:
            raise RuntimeError("unreadable")
        value = torch.tensor([[[[iteration]]]])
        return Batch(value, value, 1.0)


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
